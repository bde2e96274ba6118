//! The agent's local API: request bodies and identifiers.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use schakel_agent::local_api::body;
use schakel_agent::request::{EvidenceRequest, FulfilledRequest, OpenRequest, RecallRequest, SendRequest};
use schakel_agent::statements::StatementRequest;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, StatementId, SubjectRef};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::{AgencyId, Code, NetworkName, OfficerId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{choice, chosen, stable};

/// What is read is written so that it reads as the same.
fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match body::<T>(bytes) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).unwrap();
            let again: T = body(&written).expect("what was written is read");
            assert_eq!(serde_json::to_vec(&again).unwrap(), written);
        }
        Err(problem) => {
            stable(&problem.code);
            assert!(!problem.sentence.is_empty() && !problem.remedy.is_empty());
        }
    }
}

/// One of the six requests.
pub fn request(input: &[u8]) {
    let (way, bytes) = choice(input);
    match way % 6 {
        0 => read::<SendRequest>(bytes),
        1 => read::<StatementRequest>(bytes),
        2 => read::<RecallRequest>(bytes),
        3 => read::<OpenRequest>(bytes),
        4 => read::<EvidenceRequest>(bytes),
        _ => read::<FulfilledRequest>(bytes),
    }
}

/// Requests as the command line sends them.
pub fn requests() -> Vec<Vec<u8>> {
    let case = CaseRef::from_bytes([1; 16]);
    let packet = PacketId::from_bytes([2; 16]);
    let part = PartId::from_bytes([3; 16]);
    let statement = StatementId::from_bytes([4; 16]);
    let subject = SubjectRef::from_bytes([5; 16]);
    let digest = Digest::from_bytes([6; 32]);
    let send = format!(
        r#"{{"case":"{case}","to":["pz-rupel"],"purpose":"protection","basis":"legal_duty","urgency":"routine",
        "expires_hours":4,"in_reply_to":"{packet}","mandate":"{statement}",
        "report":{{"victim_class":"minor","danger":"serious","cannot_protect_otherwise":true}},
        "break_glass":{{"actor":"duty","danger_to":["victim"],"reviewer":"pz-rupel","review_by_ms":5,
        "justification_chars":9,"justification_commitment":"{digest}"}},
        "parts":[{{"category":"alert","file":"/x","name":"x","title":"t","secrecy":"none","relevant":true,
        "subjects":[{{"role":"victim","age_class":"adult","subject":"{subject}"}}],"to":["pz-rupel"]}}]}}"#
    );
    let open = format!(
        r#"{{"kind":"open-case","case":"{case}","case_type":"partner_violence","region":"vlg",
        "roster":[{{"agency":"pz-rupel","status":"active","from_ms":1}}]}}"#
    );
    let measure =
        format!(r#"{{"kind":"impose-measure","case":"{case}","measure":"house_ban","until_ms":5}}"#);
    let close = format!(r#"{{"kind":"close-case","case":"{case}"}}"#);
    vec![
        chosen(0, send.as_bytes()),
        chosen(1, open.as_bytes()),
        chosen(1, measure.as_bytes()),
        chosen(1, close.as_bytes()),
        chosen(
            2,
            format!(r#"{{"packet":"{packet}","reason":"other"}}"#).as_bytes(),
        ),
        chosen(
            3,
            format!(r#"{{"packet":"{packet}","part":"{part}","out":"/y"}}"#).as_bytes(),
        ),
        chosen(
            4,
            format!(r#"{{"packet":"{packet}","out":"/z","without_content":true,"offline":false}}"#)
                .as_bytes(),
        ),
        chosen(
            5,
            format!(r#"{{"packet":"{packet}","part":"{part}","obligation":"x"}}"#).as_bytes(),
        ),
    ]
}

/// What is read is written as it was: an identifier has one text form.
fn one_form<T: FromStr<Err = impl Debug + Display> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(id) => assert_eq!(id.to_string(), text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A text, as each identifier.
pub fn identifier(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    one_form::<PacketId>(text);
    one_form::<PartId>(text);
    one_form::<CaseRef>(text);
    one_form::<SubjectRef>(text);
    one_form::<StatementId>(text);
    one_form::<Digest>(text);
    one_form::<Fingerprint>(text);
    one_form::<AgencyId>(text);
    one_form::<OfficerId>(text);
    one_form::<NetworkName>(text);
    one_form::<Code>(text);
}

/// One of each.
pub fn identifiers() -> Vec<Vec<u8>> {
    let texts = [
        PacketId::from_bytes([2; 16]).to_string(),
        PartId::from_bytes([2; 16]).to_string(),
        CaseRef::from_bytes([2; 16]).to_string(),
        SubjectRef::from_bytes([2; 16]).to_string(),
        StatementId::from_bytes([2; 16]).to_string(),
        Digest::from_bytes([0xAB; 32]).to_string(),
        "AB".repeat(20),
        "AB".repeat(32),
        "pz-rupel_1".to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}
