//! Just enough of a Rust lexer: code without comments and literals, and where functions begin and end.

/// The source with comments and the insides of literals blanked; lines stay where they are.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn literal_or_comment(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => chars[at..]
            .iter()
            .position(|c| *c == '\n')
            .map_or(chars.len(), |n| at + n),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' if !word_before && (next(1) == '"' || next(1) == '#') => {
            raw_string_end(chars, at + 1).unwrap_or(at)
        }
        'b' | 'c' if !word_before && next(1) == 'r' => raw_string_end(chars, at + 2).unwrap_or(at),
        '\'' if next(1) == '\\' => chars[at + 3..]
            .iter()
            .position(|c| *c == '\'')
            .map_or(chars.len(), |n| at + 3 + n + 1),
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `at` stands on the hashes or the quote after the `r`; none if it is a raw identifier.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    let mut at = at + hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        let closes =
            chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        at += 1;
        if closes {
            return Some(at + hashes);
        }
    }
    Some(chars.len())
}

/// A function with a body: its name and its first and last line, from 1.
pub struct Function {
    pub name: String,
    pub first: usize,
    pub last: usize,
}

/// Every function with a body in code that went through [`code_only`].
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let word_before = code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let name: String = code[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if word_before || name.is_empty() {
            continue;
        }
        if let Some(body) = body_start(&code[at..]) {
            let end = at + body + block_length(&code[at + body..]);
            let line = |to: usize| code[..to].matches('\n').count() + 1;
            found.push(Function {
                name,
                first: line(at),
                last: line(end),
            });
        }
    }
    found
}

/// Offset of the `{` that opens the body of the function whose `fn` stands first.
fn body_start(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Length of the block whose `{` stands first, up to and with its `}`.
pub fn block_length(code: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_kept() {
        let source = "a // x {\nb /* { /* y */ \n} */ c \"{ \\\" z\" d r#\"\" } \"# e '{' f '\\'' 'g: r#fn h br\"}\" i";
        let words: Vec<_> = code_only(source).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "b", "c", "d", "e", "f", "'g:", "r#fn", "h", "i"]);
        assert_eq!(
            code_only(source).matches('\n').count(),
            source.matches('\n').count()
        );
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let source = "trait T {\n    fn no_body(a: [u8; 3]);\n}\nfn one() { let s = \"}\"; }\nfn two<T>(x: fn(u8) -> u8)\nwhere\n    T: Copy,\n{\n    if x(1) == 2 {\n    }\n}\n";
        let found: Vec<_> = functions(&code_only(source))
            .into_iter()
            .map(|f| (f.name, f.first, f.last))
            .collect();
        assert_eq!(found, [("one".to_owned(), 4, 4), ("two".to_owned(), 5, 11)]);
    }
}
