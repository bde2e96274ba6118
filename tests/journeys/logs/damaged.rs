//! A row of the log that cannot be read: lists, exports and figures name it, go on, and say it in their exit status.

use schakel_broker::config::Config;
use schakel_broker::store::Store;
use schakel_broker::store::sled::SledStore;
use schakel_tests::system::network::Town;
use serde_json::{Value, json};

use super::{delivered, entries, run};

/// Flips a bit of the record of the entry at a position of the stopped broker's log.
fn flip(town: &Town, index: u64) {
    let data = Config::load(&town.network().broker_config()).unwrap().data_dir;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(SledStore::open_unchecked(&data)).unwrap();
    let rows = store.raw_rows().unwrap();
    let entry = [&b"E"[..], &index.to_be_bytes()].concat();
    let mut record = rows.iter().find(|(found, _)| *found == entry).unwrap().1.clone();
    *record.last_mut().unwrap() ^= 1;
    store.raw_put(&entry, Some(&record)).unwrap();
    runtime.block_on(store.close());
}

#[test]
fn a_damaged_row_is_named_and_hides_no_other() {
    let mut town = Town::running(&["pz-rupel", "parket-antwerpen"]);
    let (case, packet) = delivered(&town);
    let case = case.to_string();
    town.take_broker().stop();
    let sound = entries(&town, &[]);
    let index = entries(&town, &["--packet", &packet])[1]["index"]
        .as_u64()
        .unwrap();
    flip(&town, index);
    // As it was, but for the one; what looked meanwhile is not in the tree yet.
    let mut expected = sound.clone();
    let place = expected.iter().position(|one| one["index"] == index).unwrap();
    expected[place] = json!({ "index": index, "event": "(unreadable)", "leaf": null });
    for command in [&["ls", "--json"][..], &["export"]] {
        let (status, said) = run(&town, command);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("DAMAGED: 1 entries"), "{said}");
        let listed = said.split_once("the broker would not start").unwrap().0;
        let found: Vec<Value> = if command[0] == "export" {
            let lines = listed.lines().map(serde_json::from_str);
            lines.collect::<Result<_, _>>().unwrap()
        } else {
            let page: Value = serde_json::from_str(listed).unwrap();
            page["entries"].as_array().unwrap().clone()
        };
        assert_eq!(found, expected, "{command:?}");
    }
    for filter in [["--packet", &packet], ["--case", &case]] {
        let (status, said) = run(&town, &[&["ls"][..], &filter].concat());
        assert_eq!(status, Some(1), "{said}");
        assert!(
            said.contains("(unreadable)") && said.contains("ContentHandover"),
            "{said}"
        );
    }
    let (status, said) = run(&town, &["stats"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&format!("At entry {index}\n")), "{said}");
    assert!(said.contains("ContentHandover"), "{said}");
    // A list that does not come upon it says nothing of it.
    assert_eq!(run(&town, &["ls", "--limit", "1"]).0, Some(0));
    flip(&town, index);
    assert_eq!(entries(&town, &[]), sound);
}
