//! Tables for the screen: columns as wide as their content, the last one wrapped.

const WIDTH_MAX_COLUMNS: usize = 118;
const GAP: &str = "  ";

/// Rows of cells as lines of text. The last column takes what is left of the line and is wrapped.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
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
    let mut lines = Vec::new();
    for row in rows {
        let head: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}{GAP}"))
            .collect();
        let wrapped = wrap(row.get(last).map_or("", String::as_str), room);
        for (number, piece) in wrapped.iter().enumerate() {
            let begin = if number == 0 {
                head.clone()
            } else {
                " ".repeat(before)
            };
            lines.push(format!("{begin}{piece}").trim_end().to_owned());
        }
    }
    lines
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
        let lines = lines(&[row(["één", &"woord ".repeat(30)]), row(["langer", "kort"])]);
        assert!(lines.len() > 2 && lines[0].starts_with("één     woord"));
        assert!(lines[1].starts_with("        woord"));
        assert_eq!(lines.last().unwrap(), "langer  kort");
    }
}
