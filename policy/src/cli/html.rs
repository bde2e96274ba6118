//! The grid as one HTML page without scripts or anything from elsewhere.

use std::collections::BTreeMap;

use schakel_policy::bundle::Bundle;
use schakel_policy::matrix::Verdict;
use schakel_policy::texts::Language;

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#1b1b1b;background:#fff}\
h1{font-size:1.3rem}table{border-collapse:collapse}\
th,td{border:1px solid #767676;padding:.3rem .45rem;text-align:center}\
thead th{position:sticky;top:0;background:#fff;vertical-align:bottom}\
thead th span{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;display:inline-block}\
tbody th{text-align:left;position:sticky;left:0;background:#fff;font-weight:normal;min-width:11rem}\
code{font-size:.8em;color:#444}td a{color:inherit}thead th span{max-height:18rem;white-space:normal}\
@media print{thead th,tbody th{position:static}body{margin:0}}\
td b{display:block;font-size:1.05rem}td small{color:#333}\
.D{background:#d7f0d7}.K{background:#fff3c4}.C{background:#d9e6fb}.E{background:#ffdcc2}.N{background:#e3e3e3}\
ul{list-style:none;padding:0}li span{display:inline-block;width:1.6em;text-align:center;font-weight:bold;\
border:1px solid #767676;margin-right:.5em}dt{font-weight:bold}dd{margin:0 0 .4rem 0}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A name in the officer's language; its code where there is none.
fn name<'a>(table: &'a BTreeMap<String, String>, code: &'a str) -> &'a str {
    table.get(code).map_or(code, String::as_str)
}

/// The page in one of the bundle's languages.
pub fn page(bundle: &Bundle, language: &str, speech: &Language) -> String {
    let phrase = |key| escape(name(&speech.phrase, key));
    let title = format!(
        "{} {} {}",
        phrase("matrix-title"),
        escape(bundle.name()),
        bundle.version()
    );
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>{}</p>\n<ul>\n",
        phrase("matrix-intro")
    );
    for verdict in Verdict::ALL {
        out.push_str(&format!(
            "<li><span class=\"{0}\">{0}</span>{1}</li>\n",
            verdict.letter(),
            escape(name(&speech.verdict, verdict.as_str()))
        ));
    }
    out.push_str("</ul>\n");
    table(&mut out, bundle, language, speech);
    let grounds = phrase("matrix-grounds");
    out.push_str(&format!("<h2>{grounds}</h2>\n<dl>\n"));
    for (key, ground) in &bundle.matrix().reasons {
        out.push_str(&format!(
            "<dt id=\"{0}\">{0} ({1})</dt><dd>{2}</dd>\n",
            escape(key),
            escape(&ground.status),
            escape(ground.sentence(language))
        ));
    }
    out.push_str(&format!(
        "</dl><p><small>{}</small></p></body></html>\n",
        bundle.digest()
    ));
    out
}

fn table(out: &mut String, bundle: &Bundle, language: &str, speech: &Language) {
    let (roles, matrix) = (bundle.vocabulary("Role"), bundle.matrix());
    let category = escape(name(&speech.phrase, "matrix-category"));
    out.push_str(&format!("<table><thead><tr><th scope=\"col\">{category}</th>"));
    for role in roles {
        out.push_str(&format!(
            "<th scope=\"col\"><span>{}<br><code>{}</code></span></th>",
            escape(name(&speech.role, role)),
            escape(role)
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for category in bundle.vocabulary("Category") {
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}<br><code>{}</code></th>",
            escape(name(&speech.category, category)),
            escape(category)
        ));
        for role in roles {
            let Some(cell) = matrix.cells.get(category).and_then(|row| row.get(role)) else {
                continue;
            };
            let ground = matrix.reasons.get(&cell.reason);
            out.push_str(&format!(
                "<td class=\"{0}\" title=\"{1}: {2}. {3}\"><b>{0}</b>\
                 <small><a href=\"#{4}\">{4}</a></small></td>",
                cell.verdict.letter(),
                escape(name(&speech.role, role)),
                escape(name(&speech.verdict, cell.verdict.as_str())),
                escape(ground.map_or("", |g| g.sentence(language))),
                escape(&cell.reason)
            ));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
}
