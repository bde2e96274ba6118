//! Comma-separated values that a spreadsheet opens as values, and never as formulas.

/// One cell: quoted where it must be, and never a formula.
pub fn cell(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if formula {
        format!("'{field}")
    } else {
        field.to_owned()
    };
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

/// A line, with its end (RFC 4180).
pub fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = fields.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o11_a_cell_is_quoted_and_never_a_formula() {
        assert_eq!(cell("CAW Rupel"), "CAW Rupel");
        assert_eq!(cell("CAW, \"Rupel\""), "\"CAW, \"\"Rupel\"\"\"");
        for (begins, cells) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@x,y", "\"'@x,y\""),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
        ] {
            assert_eq!(cell(begins), cells);
        }
        assert_eq!(line(["a", "=b", "c,d"]), "a,'=b,\"c,d\"\r\n");
    }
}
