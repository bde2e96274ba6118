//! The list of disclosures as a page for people, and as comma-separated values.

use schakel_policy::texts::Texts;
use schakel_proto::directory::Directory;

use super::words::Words;
use super::{Disclosures, Entry, Standing, name};
use crate::csv;

/// A page that can be printed and filed.
pub(super) fn page(found: &Disclosures, words: &Words, known: (&Texts, &Directory)) -> String {
    let mut lines = vec![
        words.title.to_owned(),
        "=".repeat(words.title.chars().count()),
        String::new(),
        format!("{}: {}", words.case, found.case),
        format!("{}: {}", words.subject, found.subject),
        format!("{}: {}", words.made, found.at),
        format!("{}: {}", words.ground, words.law),
        String::new(),
        words.about.to_owned(),
        String::new(),
    ];
    if found.entries.is_empty() {
        lines.push(words.none.to_owned());
        lines.push(String::new());
    }
    for (number, entry) in (1..).zip(&found.entries) {
        lines.push(format!("{number}. {}", sentence(entry, words, known)));
        lines.extend(details(entry, words, known.0));
        lines.push(String::new());
    }
    lines.push(format!("{}: {}", words.kept_back, found.kept_back));
    lines.push(String::new());
    lines.push(words.not_included_title.to_owned());
    lines.extend(words.not_included.iter().map(|line| format!("- {line}")));
    lines.join("\n") + "\n"
}

/// Date, category, from whom to whom, how sure.
fn sentence(entry: &Entry, words: &Words, (texts, directory): (&Texts, &Directory)) -> String {
    let standing = match entry.standing {
        Standing::Received => words.received,
        Standing::Possibly => words.possibly,
    };
    format!(
        "{}  {}: {} -> {} ({standing})",
        entry.at,
        words.category(texts, &entry.category),
        name(directory, &entry.sender),
        name(directory, &entry.recipient),
    )
}

fn details(entry: &Entry, words: &Words, texts: &Texts) -> Vec<String> {
    let mut lines = vec![
        format!("   {}: {}", words.basis_word, words.basis(&entry.basis)),
        format!("   {}: {}", words.purpose_word, words.purpose(&entry.purpose)),
    ];
    if !entry.reason.is_empty() {
        let reason = words.reason(texts, &entry.reason);
        lines.push(format!("   {}: {reason} ({})", words.reason_word, entry.reason));
    }
    if !entry.said.is_empty() {
        lines.push(format!("   {}: {}", words.said, entry.said));
    }
    if entry.shielded {
        lines.push(format!("   ! {}", words.shielded));
    }
    lines.push(format!("   {}: {}", words.packet, entry.packet));
    lines
}

/// The same for a spreadsheet: the columns' names are the same in every language.
pub(super) fn csv(found: &Disclosures, words: &Words, (texts, directory): (&Texts, &Directory)) -> String {
    const COLUMNS: &str = "at,sender,sender_name,recipient,recipient_name,category,category_text,basis,basis_text,\
                           purpose,purpose_text,reason,reason_text,standing,said,shielded,packet,part";
    let mut page = format!("{COLUMNS}\r\n");
    for entry in &found.entries {
        let fields = [
            entry.at.to_string(),
            entry.sender.to_string(),
            name(directory, &entry.sender),
            entry.recipient.to_string(),
            name(directory, &entry.recipient),
            entry.category.clone(),
            words.category(texts, &entry.category),
            entry.basis.clone(),
            words.basis(&entry.basis),
            entry.purpose.clone(),
            words.purpose(&entry.purpose),
            entry.reason.clone(),
            words.reason(texts, &entry.reason),
            entry.standing.as_str().to_owned(),
            entry.said.clone(),
            if entry.shielded { "yes" } else { "no" }.to_owned(),
            entry.packet.to_string(),
            entry.part.to_string(),
        ];
        page.push_str(&csv::line(fields.iter().map(String::as_str)));
    }
    page
}
