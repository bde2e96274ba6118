//! Tables for the screen: columns as wide as their content, the last one wrapped.

const WIDTH_MAX_COLUMNS: usize = 118;
const GAP: &str = "  ";

/// Each row of cells as one or more lines of text. The last column takes what is left of the line and is
/// wrapped.
pub fn rows(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let last = columns.saturating_sub(1);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..last).map(width).collect();
    let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
    let room = WIDTH_MAX_COLUMNS.saturating_sub(before).max(24);
    let row_lines = |row: &Vec<String>| {
        let head: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}{GAP}"))
            .collect();
        let wrapped = wrap(row.get(last).map_or("", String::as_str), room);
        let begins = std::iter::once(head).chain(std::iter::repeat(" ".repeat(before)));
        begins
            .zip(wrapped)
            .map(|(begin, piece)| format!("{begin}{piece}").trim_end().to_owned())
            .collect()
    };
    rows.iter().map(row_lines).collect()
}

/// A text in pieces of at most `room` characters, broken at spaces; at least one piece.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(piece) = pieces.last_mut() else { break };
        if piece.is_empty() {
            piece.push_str(word);
        } else if piece.chars().count() + 1 + word.chars().count() <= room {
            piece.push(' ');
            piece.push_str(word);
        } else {
            pieces.push(word.to_owned());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_wrapped() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = rows(&[row(["één", &"woord ".repeat(30)]), row(["langer", "kort"])]);
        assert!(rows[0].len() > 1 && rows[0][0].starts_with("één     woord"));
        assert!(rows[0][1].starts_with("        woord"));
        assert_eq!(rows[1], ["langer  kort"]);
    }
}
