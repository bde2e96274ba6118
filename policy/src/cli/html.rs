//! The grid as one HTML page without scripts or anything from elsewhere.

use schakel_policy::bundle::Bundle;
use schakel_policy::matrix::Verdict;

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#1b1b1b;background:#fff}\
h1{font-size:1.3rem}table{border-collapse:collapse}\
th,td{border:1px solid #767676;padding:.3rem .45rem;text-align:center}\
thead th{position:sticky;top:0;background:#fff;vertical-align:bottom}\
thead th span{writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap}\
tbody th{text-align:left;position:sticky;left:0;background:#fff;white-space:nowrap}\
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

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Deliver => "may be delivered, after all gates",
        Verdict::OnlyWithConsent => "only with a valid consent of every person concerned",
        Verdict::OnlyInCaseConsultation => "only at a case consultation",
        Verdict::EmergencyOnly => "only in an emergency",
        Verdict::Never => "never",
    }
}

/// The page.
pub fn page(bundle: &Bundle) -> String {
    let (roles, categories) = (bundle.vocabulary("Role"), bundle.vocabulary("Category"));
    let matrix = bundle.matrix();
    let title = format!("Matrix of {} {}", escape(bundle.name()), bundle.version());
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <p>What each recipient role may receive of each category. {}</p>\n<ul>\n",
        bundle.digest()
    );
    for verdict in Verdict::ALL {
        let letter = verdict.letter();
        out.push_str(&format!(
            "<li><span class=\"{letter}\">{letter}</span>{}</li>\n",
            words(verdict)
        ));
    }
    out.push_str("</ul>\n<table><thead><tr><th scope=\"col\">category</th>");
    for role in roles {
        let label = matrix.roles.get(role).map_or("", |r| r.label.as_str());
        out.push_str(&format!(
            "<th scope=\"col\" title=\"{}\"><span>{}</span></th>",
            escape(label),
            escape(role)
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for category in categories {
        out.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(category)));
        for role in roles {
            let Some(cell) = matrix.cells.get(category).and_then(|row| row.get(role)) else {
                continue;
            };
            let ground = matrix.reasons.get(&cell.reason).map_or("", |g| g.text.as_str());
            out.push_str(&format!(
                "<td class=\"{0}\" title=\"{1}: {2}. {3}\"><b>{0}</b><small>{4}</small></td>",
                cell.verdict.letter(),
                escape(role),
                words(cell.verdict),
                escape(ground),
                escape(&cell.reason)
            ));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n<h2>Grounds</h2>\n<dl>\n");
    for (key, ground) in &matrix.reasons {
        out.push_str(&format!(
            "<dt>{} ({})</dt><dd>{}</dd>\n",
            escape(key),
            escape(&ground.status),
            escape(&ground.text)
        ));
    }
    out.push_str("</dl></body></html>\n");
    out
}
