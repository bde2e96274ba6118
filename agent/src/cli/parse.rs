//! The arguments that hold several fields: `--part`, `--roster`.

use std::path::PathBuf;
use std::str::FromStr;

use schakel_proto::party::{AgencyId, Code};
use schakel_proto::time::Timestamp;

use crate::request::{PartRequest, RosterRequest, SubjectRequest};

/// Splits `a=b,c=d` at commas; `\,` is a comma within a value.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => {
                chars.next();
                if let Some(last) = items.last_mut() {
                    last.push(',');
                }
            }
            ',' => items.push(String::new()),
            c => {
                if let Some(last) = items.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    let pair = |item: String| match item.split_once('=') {
        Some((key, value)) => (key.trim().to_owned(), value.to_owned()),
        None => (item.trim().to_owned(), String::new()),
    };
    items.into_iter().filter(|i| !i.is_empty()).map(pair).collect()
}

fn typed<T: FromStr<Err = impl std::fmt::Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|e| format!("{key}: {e}"))
}

/// A moment: RFC 3339 with offset, e.g. `2026-12-01T12:00:00+01:00`.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse::<jiff::Timestamp>()
        .map(|at| Timestamp::from_millis(at.as_millisecond()))
        .map_err(|_| "write a moment as 2026-12-01T12:00:00+01:00".to_owned())
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("{key}: write yes or no")),
    }
}

/// `role:age_class:subject-…`
fn subject(value: &str) -> Result<SubjectRequest, String> {
    let parts: Vec<_> = value.split(':').collect();
    let [role, age_class, reference] = parts.as_slice() else {
        return Err("subject: write role:age_class:reference, e.g. victim:adult:subject-…".into());
    };
    Ok(SubjectRequest {
        role: typed("subject", role)?,
        age_class: typed("subject", age_class)?,
        subject: typed("subject", reference)?,
    })
}

/// `category=…,file=…[,subject=…]…[,secrecy=…][,media=…][,title=…][,name=…][,to=…]…[,relevant=…]…`
pub fn part(text: &str) -> Result<PartRequest, String> {
    let (mut category, mut file) = (None, None);
    let none = Code::new("none").map_err(|e| e.to_string())?;
    let mut part = PartRequest {
        category: none.clone(),
        file: PathBuf::new(),
        name: None,
        media_type: None,
        title: String::new(),
        subjects: Vec::new(),
        secrecy: none,
        to: Vec::new(),
        release: None,
        measure: None,
        relevant: None,
        pseudonymous: false,
    };
    for (key, value) in fields(text) {
        match key.as_str() {
            "category" => category = Some(typed(&key, &value)?),
            "file" => file = Some(PathBuf::from(value)),
            "name" => part.name = Some(value),
            "media" => part.media_type = Some(value),
            "title" => part.title = value,
            "subject" => part.subjects.push(subject(&value)?),
            "secrecy" => part.secrecy = typed(&key, &value)?,
            "to" => part.to.push(typed(&key, &value)?),
            "release" => part.release = Some(typed(&key, &value)?),
            "measure" => part.measure = Some(typed(&key, &value)?),
            "relevant" => part.relevant = Some(yes_or_no(&key, &value)?),
            "pseudonymous" => part.pseudonymous = yes_or_no(&key, &value)?,
            _ => {
                let known = "category, file, name, media, title, subject, secrecy, to, release, measure, \
                    relevant, pseudonymous";
                return Err(format!("\"{key}\" is not a field of a part; there are {known}"));
            }
        }
    }
    part.category = category.ok_or("category is missing")?;
    let file = file.ok_or("file is missing")?;
    part.file = std::path::absolute(&file).map_err(|e| format!("file: {e}"))?;
    Ok(part)
}

/// `AGENCY[,status=…][,from=MILLIS][,until=MILLIS][,perp-side]`
pub fn roster(text: &str) -> Result<RosterRequest, String> {
    let mut items = fields(text).into_iter();
    let (first, value) = items.next().ok_or("the agency is missing")?;
    let name = if first == "agency" { value } else { first };
    let mut entry = RosterRequest {
        agency: typed::<AgencyId>("agency", &name)?,
        status: Code::new("active").map_err(|e| e.to_string())?,
        from_ms: None,
        until_ms: None,
        perp_side: false,
    };
    for (key, value) in items {
        match key.as_str() {
            "status" => entry.status = typed(&key, &value)?,
            "from" => entry.from_ms = Some(typed(&key, &value)?),
            "until" => entry.until_ms = Some(typed(&key, &value)?),
            "perp-side" => entry.perp_side = yes_or_no(&key, &value)?,
            _ => return Err(format!("\"{key}\" is not one of status, from, until, perp-side")),
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_with_all_its_fields() {
        let reference = format!("subject-{}", "ab".repeat(16));
        let text = format!(
            "category=facts_summary,file=/tmp/a\\,b.pdf,subject=victim:adult:{reference},\
             subject=child:minor_0_11:{reference},secrecy=investigation,media=application/pdf,to=caw-rupel,\
             title=Een titel,relevant=yes"
        );
        let part = part(&text).unwrap();
        assert_eq!(part.category.as_str(), "facts_summary");
        assert_eq!(part.file, PathBuf::from("/tmp/a,b.pdf"));
        assert_eq!(part.subjects.len(), 2);
        assert_eq!(part.subjects[1].age_class.as_str(), "minor_0_11");
        assert_eq!(part.secrecy.as_str(), "investigation");
        assert_eq!(part.to[0].as_str(), "caw-rupel");
        assert_eq!(part.title, "Een titel");
        assert_eq!((part.relevant, part.pseudonymous), (Some(true), false));
    }

    #[test]
    fn what_is_wrong_with_a_part_is_named() {
        for (text, word) in [
            ("file=/tmp/a", "category"),
            ("category=identity", "file"),
            ("category=Identity,file=/a", "category"),
            ("category=identity,file=/a,colour=red", "colour"),
            ("category=identity,file=/a,subject=victim", "subject"),
            ("category=identity,file=/a,relevant=maybe", "relevant"),
        ] {
            assert!(part(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn a_relative_file_becomes_absolute() {
        assert!(part("category=identity,file=a.txt").unwrap().file.is_absolute());
    }

    #[test]
    fn a_roster_entry_is_short_or_complete() {
        let short = roster("pz-rupel").unwrap();
        assert_eq!(
            (short.agency.as_str(), short.status.as_str()),
            ("pz-rupel", "active")
        );
        let long = roster("agency=caw-rupel-dader,status=suspended,from=1,until=2,perp-side").unwrap();
        assert_eq!(long.status.as_str(), "suspended");
        assert_eq!(
            (long.from_ms, long.until_ms, long.perp_side),
            (Some(1), Some(2), true)
        );
        assert!(roster("").is_err());
        assert!(roster("pz-rupel,colour=red").is_err());
    }
}
