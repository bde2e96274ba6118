//! Where in a file something stands, and how deep a policy may go before Cedar sees it.

/// Deepest nesting of brackets in a policy; Cedar's parser and type checker recurse on it.
const NESTING_MAX: usize = 32;
/// Most operators in one policy; chains of them nest as well.
const OPERATORS_MAX: usize = 400;
/// Longest policy, in bytes, its sentences included.
const LENGTH_MAX_BYTES: usize = 16 * 1024;

/// The line, from 1, of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

/// The line of the first occurrence; 1 if there is none.
pub(crate) fn line_with(text: &str, needle: &str) -> usize {
    text.find(needle).map_or(1, |at| line_of(text, at))
}

/// The line where a policy or schema nests too deep, holds too many operators or grows too long, if one does.
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let (mut string, mut comment, mut escaped) = (false, false, false);
    let (mut before, mut begin) = (' ', 0);
    for (at, c) in text.char_indices() {
        if comment {
            comment = c != '\n';
        } else if string {
            string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => string = true,
                '/' if before == '/' => comment = true,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                ';' if depth == 0 => (operators, begin) = (0, at),
                '&' | '|' | '+' | '-' | '*' | '!' | '.' | '=' | '<' | '>' => operators += 1,
                _ => {}
            }
        }
        if depth > NESTING_MAX || operators > OPERATORS_MAX || at - begin > LENGTH_MAX_BYTES {
            return Some(line_of(text, at));
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one() {
        assert_eq!(
            (
                line_of("a\nb\nc", 0),
                line_of("a\nb\nc", 2),
                line_of("a\nb\nc", 99)
            ),
            (1, 2, 3)
        );
        assert_eq!((line_with("a\nb", "b"), line_with("a\nb", "z")), (2, 1));
    }

    #[test]
    fn depth_is_bounded_but_strings_and_comments_do_not_count() {
        assert_eq!(too_deep(&format!("a\n{}", "(".repeat(NESTING_MAX + 1))), Some(2));
        assert_eq!(too_deep(&"a && ".repeat(OPERATORS_MAX)), Some(1));
        assert_eq!(too_deep(&"a && b;\n".repeat(OPERATORS_MAX)), None);
        assert_eq!(
            too_deep(&format!("\"{}\" // {}\n", "(".repeat(99), "[".repeat(99))),
            None
        );
    }
}
