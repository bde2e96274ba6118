//! The operator looks through the log: lists, a packet's whole way, exports, figures; of the running broker and of the
//! stopped one; and each look stands in the log itself.

mod damaged;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office};
use schakel_tests::system::process::binary;
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::{Value, json};

const SECRET: &str = "Te bereiken op het werk.";
const TITLE: &str = "Verslag van maandag";

fn command(town: &Town, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("schakel-broker"));
    command.arg("log").args(arguments).arg("--config");
    command.arg(town.network().broker_config());
    command
}

/// Exit status, and what it printed; never anything of the content.
fn run(town: &Town, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(town, arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(
        !said.contains(SECRET) && !said.contains(TITLE),
        "{arguments:?}: {said}"
    );
    (output.status.code(), said)
}

/// The same; it must succeed.
fn told(town: &Town, arguments: &[&str]) -> String {
    let (status, said) = run(town, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    said
}

fn entries(town: &Town, filter: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["ls", "--json", "--limit", "1000"];
    arguments.extend(filter);
    let page: Value = serde_json::from_str(&told(town, &arguments)).unwrap();
    assert_eq!(page["next"], Value::Null);
    page["entries"].as_array().unwrap().clone()
}

fn events(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|one| one["event"].as_str().unwrap()).collect()
}

/// A packet about a case of police and prosecutor: delivered and taken note of.
fn delivered(town: &Town) -> (CaseRef, String) {
    let case = CaseRef::random(&mut seeded());
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(town, id));
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, SECRET).unwrap();
    police.open_case(case, &["pz-rupel", "parket-antwerpen"]);
    let mut document = Document::new("facts_summary", &file);
    document.title = TITLE;
    let order = Office::order(
        case,
        &["parket-antwerpen"],
        ("prosecution", "legal_duty"),
        &[document],
    );
    let packet = police.send(&order);
    prosecutor.received(&packet);
    police.packet(&packet, "settled");
    (case, packet)
}

/// Filters, each by itself and together, and pages that join without gap.
fn filters(town: &Town, case: CaseRef, packet: &str) {
    let case = case.to_string();
    let of_packet = entries(town, &["--packet", packet]);
    let way = ["SubmissionAcceptance", "ContentConsignment", "ContentHandover"];
    assert_eq!(events(&of_packet)[..3], way);
    let of_case = entries(town, &["--case", &case]);
    assert_eq!(
        events(&of_case)[..4],
        ["schakel:StatementAccepted", way[0], way[1], way[2]]
    );
    assert!(of_case.iter().all(|one| one["case"] == case.as_str()));
    let all = entries(town, &[]);
    let some = |filter: &[&str], expected: &dyn Fn(&Value) -> bool| {
        let found = entries(town, filter);
        let wanted: Vec<&Value> = all.iter().filter(|one| expected(one)).collect();
        let found: Vec<&Value> = found
            .iter()
            .filter(|one| one["index"].as_u64() <= all.last().unwrap()["index"].as_u64())
            .collect();
        assert!(!wanted.is_empty(), "{filter:?}");
        assert_eq!(found, wanted, "{filter:?}");
    };
    some(&["--event", "ContentHandover"], &|one| {
        one["event"] == "ContentHandover"
    });
    some(&["--event", "StatementAccepted"], &|one| {
        one["event"] == "schakel:StatementAccepted"
    });
    some(&["--reason", "received"], &|one| one["reason"] == "received");
    some(&["--agency", "parket-antwerpen"], &|one| {
        let shown = one["shown_to"].as_array().unwrap();
        one["recipient"] == "parket-antwerpen"
            || one["sender"] == "parket-antwerpen"
            || shown.contains(&json!("parket-antwerpen"))
    });
    some(
        &["--agency", "pz-rupel", "--event", "ContentConsignment"],
        &|one| one["event"] == "ContentConsignment",
    );
    let second = of_packet[1]["at"].as_str().unwrap();
    some(&["--since", second], &|one| one["at"].as_str() >= Some(second));
    some(&["--until", second], &|one| one["at"].as_str() < Some(second));
    // Page by page it is the same, and each page says how to go on.
    let (mut joined, mut after) = (Vec::new(), None);
    loop {
        let mut arguments = vec!["ls", "--limit", "2", "--case", &case];
        let text = after.map(|after: u64| after.to_string());
        arguments.extend(text.iter().flat_map(|text| ["--after", text]));
        let said = told(town, &arguments);
        let lines = said.lines().filter(|line| !line.starts_with("there is more"));
        joined.extend(lines.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()));
        match said
            .lines()
            .find_map(|line| line.strip_prefix("there is more: --after "))
        {
            Some(next) => after = Some(next.parse().unwrap()),
            None => break,
        }
    }
    let positions = of_case.iter().map(|one| one["index"].as_u64().unwrap());
    assert_eq!(joined[..of_case.len()], positions.collect::<Vec<_>>());
    // The look itself is an entry, and may be there already.
    let newest = entries(town, &["--last", "1"]).len();
    assert!((1..=4).contains(&newest), "{newest}");
    assert_eq!(
        told(town, &["ls", "--reason", "NO_SUCH_REASON"]),
        "no such entries\n"
    );
}

fn whole_way(town: &Town, case: CaseRef, packet: &str) {
    let said = told(town, &["show", packet]);
    for words in [
        "SubmissionAcceptance",
        "ContentConsignment",
        "deliver  OK_",
        "ContentHandover",
        "received",
        "facts_summary",
        &case.to_string(),
        "under the checkpoint of",
        "content is never shown",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("OVERDUE"), "{said}");
    let shown: Value = serde_json::from_str(&told(town, &["show", packet, "--json"])).unwrap();
    assert_eq!(
        (&shown["state"], &shown["overdue"]),
        (&json!("settled"), &json!([]))
    );
    assert_eq!(shown["parts"][0]["state"], "received");
    assert_eq!(shown["entries"][2]["parts"][0]["outcome"], "received");
}

fn exported(town: &Town, case: CaseRef) {
    let case = case.to_string();
    let lines = told(town, &["export", "--case", &case]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let listed = entries(town, &["--case", &case]);
    assert_eq!(lines[..], listed[..lines.len()]);
    assert!(lines.len() >= 4);
    let csv = told(town, &["export", "--csv", "--event", "ContentHandover"]);
    let mut rows = csv.split("\r\n");
    assert_eq!(
        rows.next().unwrap(),
        "index,at,event,packet,case,sender,recipient,reason,left_out,actor,shown_to,leaf"
    );
    let row = rows.next().unwrap();
    assert!(
        row.contains(",ContentHandover,")
            && row.contains(",pz-rupel,parket-antwerpen,received,0,,pz-rupel parket-antwerpen,"),
        "{row}"
    );
}

fn figures(town: &Town) {
    let stats: Value = serde_json::from_str(&told(town, &["stats", "--json"])).unwrap();
    assert_eq!(stats["events"]["SubmissionAcceptance"], 1, "{stats:#}");
    assert_eq!(
        (&stats["erased_cases"], &stats["unreadable"]),
        (&json!(0), &json!(0))
    );
    let events: u64 = stats["events"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(Some(events), stats["entries"].as_u64());
    assert!(stats["size"].as_u64() >= Some(events));
    assert!(told(town, &["stats"]).contains("by agency:"));
}

/// The operator's acts in the log: what, and how often.
fn acts(town: &Town) -> Vec<(String, Value)> {
    let found = entries(town, &["--event", "AdminAct"]);
    for one in &found {
        let user = rustix::process::getuid().as_raw();
        assert_eq!(
            (&one["actor"], &one["left_out"]),
            (&json!(format!("unix:{user}")), &json!(0))
        );
        assert_eq!((&one["sender"], &one["recipient"]), (&Value::Null, &Value::Null));
        assert_eq!(one["shown_to"], json!([]));
    }
    let said = |one: &Value| (one["reason"].as_str().unwrap().to_owned(), one["packet"].clone());
    found.iter().map(said).collect()
}

/// How many lists were looked at until now, and how many exports it took to know: what is exported stands in the log in the
/// order of its commits, so once an export is seen in it, all that came before that export is.
fn listed(town: &Town) -> (usize, usize) {
    let mut exports = 0;
    let mut exported = || {
        exports += 1;
        let text = told(town, &["export", "--event", "AdminAct"]);
        let acts: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let count = |what: &str| acts.iter().filter(|act| act["reason"] == what).count();
        (count("list"), count("export"))
    };
    let (_, before) = exported();
    let lists = wait::until("every look so far in the log", || {
        let (lists, seen) = exported();
        (seen > before).then_some(lists)
    });
    (lists, exports)
}

/// New entries are printed as they come, until it is interrupted; the exports that were made beside it.
fn followed(town: &Town) -> usize {
    let (before, exports) = listed(town);
    let mut follow = command(town, &["ls", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let (sender, seen) = std::sync::mpsc::channel();
    let reading =
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // It shows what comes after it began, whenever that is: what happens again is seen at last.
    let (mut rng, mut cases, mut lines) = (seeded(), Vec::new(), Vec::new());
    let line = wait::until("an opened case followed", || {
        let case = CaseRef::random(&mut rng);
        Office::of(town, "pz-rupel").open_case(case, &["pz-rupel"]);
        cases.push(case.to_string());
        std::thread::sleep(Duration::from_secs(1));
        lines.extend(seen.try_iter());
        let of_these = |line: &&String| cases.iter().any(|case| line.contains(case));
        lines.iter().find(of_these).cloned()
    });
    assert!(line.contains("schakel:StatementAccepted"), "{line}");
    follow.kill().unwrap();
    reading.join().unwrap().unwrap();
    follow.wait().unwrap();
    // One act, however often it asked.
    let (after, more) = listed(town);
    assert_eq!(after, before + 1);
    exports + more
}

#[test]
fn the_operator_looks_through_the_log_and_each_look_stands_in_it() {
    let mut town = Town::running(&["pz-rupel", "parket-antwerpen"]);
    let (case, packet) = delivered(&town);
    filters(&town, case, &packet);
    whole_way(&town, case, &packet);
    exported(&town, case);
    figures(&town);
    let exports = followed(&town);
    let found = wait::until("the exports in the log", || {
        let found = acts(&town);
        let seen = found.iter().filter(|(reason, _)| reason == "export").count();
        (seen >= 2 + exports).then_some(found)
    });
    let count = |what: &str| found.iter().filter(|(reason, _)| reason == what).count();
    assert_eq!(
        (count("show"), count("export"), count("stats")),
        (2, 2 + exports, 2),
        "{found:?}"
    );
    assert!(found.contains(&("show".to_owned(), json!(packet))), "{found:?}");
    // What is no event, no packet, no moment is refused in words.
    let (status, said) = run(&town, &["ls", "--event", "Everything"]);
    assert!(
        status == Some(69) && said.contains("SubmissionAcceptance, "),
        "{said}"
    );
    let (status, said) = run(&town, &["show", &packet.replace(['0', '1', '2'], "3")]);
    assert!(status == Some(69), "{said}");
    assert_eq!(run(&town, &["ls", "--since", "yesterday"]).0, Some(2));
    // Out of the store of the stopped broker it is the same, and that look is in the log at the next start.
    let before = entries(&town, &["--case", &case.to_string()]);
    town.take_broker().stop();
    let stopped = entries(&town, &["--case", &case.to_string()]);
    assert_eq!(stopped[..before.len()], before[..]);
    whole_way(&town, case, &packet);
    let (status, said) = run(&town, &["ls", "--follow"]);
    assert!(status == Some(69) && said.contains("does not run"), "{said}");
    let shows = count("show");
    town.start_broker();
    // One of an unknown packet, refused; two of the stopped broker.
    wait::until("the looks at the stopped store in the log", || {
        let found = acts(&town);
        let again = found.iter().filter(|(reason, _)| reason == "show").count();
        (again == shows + 3).then_some(())
    });
}
