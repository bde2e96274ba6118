//! Signatures on a bundle: two officers, two keys, two agencies; and the archive they stand for.

use schakel_policy::bundle::{Bundle, BundleSignature, OfficerEntry, SignedBundle};
use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::party::{AgencyId, NetworkName, OfficerId};
use schakel_proto::time::Timestamp;

const AT: Timestamp = Timestamp::from_millis(1_791_187_200_000);
const LATER: Timestamp = Timestamp::from_millis(1_791_187_260_000);

fn network() -> NetworkName {
    NetworkName::new("rupel").unwrap()
}

struct Officer {
    keys: SecretKeys,
    entry: OfficerEntry,
}

fn officer(id: &str, agency: &str) -> Officer {
    let keys = SecretKeys::generate(KeyKind::V6, id, AT).unwrap();
    let entry = OfficerEntry {
        agency: AgencyId::new(agency).unwrap(),
        officer: OfficerId::new(id).unwrap(),
        certificate: keys.certificate(),
    };
    Officer { keys, entry }
}

fn signed_by(officers: &[&Officer], network: &NetworkName) -> SignedBundle {
    let mut signed = SignedBundle::unsigned(&Bundle::built_in().unwrap());
    for officer in officers {
        signed
            .sign(network, &officer.entry.officer, &officer.keys, AT)
            .unwrap();
    }
    signed
}

fn refusal(signed: &SignedBundle, officers: &[&Officer]) -> &'static str {
    let known: Vec<OfficerEntry> = officers.iter().map(|o| o.entry.clone()).collect();
    signed
        .verify(&network(), &known, LATER)
        .map_or_else(|error| error.code, |_| "verified")
}

#[test]
fn p03_two_officers_of_two_agencies_make_a_bundle_valid_and_nothing_less_does() {
    let (an, bo) = (
        officer("officer-an", "parket-antwerpen"),
        officer("officer-bo", "vh-antwerpen"),
    );
    let colleague = officer("officer-ci", "parket-antwerpen");
    let all = [&an, &bo, &colleague];
    let signed = signed_by(&[&an, &bo], &network());
    assert_eq!(SignedBundle::from_bytes(&signed.to_bytes()).unwrap(), signed);
    let known: Vec<OfficerEntry> = all.iter().map(|o| o.entry.clone()).collect();
    let verified = signed.verify(&network(), &known, LATER).unwrap();
    assert_eq!(verified.bundle().digest(), Bundle::built_in().unwrap().digest());
    assert_eq!(verified.signers().len(), 2);

    assert_eq!(refusal(&signed_by(&[], &network()), &all), "BUNDLE_FOUR_EYES");
    assert_eq!(refusal(&signed_by(&[&an], &network()), &all), "BUNDLE_FOUR_EYES");
    assert_eq!(
        refusal(&signed_by(&[&an, &colleague], &network()), &all),
        "BUNDLE_FOUR_EYES"
    );
    let mut twice = signed_by(&[&an], &network());
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(refusal(&twice, &all), "BUNDLE_FOUR_EYES", "signed twice by one");
    assert_eq!(refusal(&signed, &[&an]), "BUNDLE_SIGNER", "not in the directory");
    let elsewhere = signed_by(&[&an, &bo], &NetworkName::new("secova").unwrap());
    assert_eq!(refusal(&elsewhere, &all), "BUNDLE_SIGNATURE", "another network");
}

#[test]
fn p03_one_key_under_two_names_is_one_signer() {
    let an = officer("officer-an", "parket-antwerpen");
    let mut other = officer("officer-bo", "vh-antwerpen");
    other.entry.certificate = an.keys.certificate();
    let mut signed = signed_by(&[&an], &network());
    signed
        .sign(&network(), &other.entry.officer, &an.keys, AT)
        .unwrap();
    assert_eq!(refusal(&signed, &[&an, &other]), "BUNDLE_FOUR_EYES");
}

#[test]
fn another_bundle_or_a_forged_signature_is_refused() {
    let (an, bo) = (
        officer("officer-an", "parket-antwerpen"),
        officer("officer-bo", "vh-antwerpen"),
    );
    let signed = signed_by(&[&an, &bo], &network());
    let bundle = Bundle::built_in().unwrap();
    let cell = schakel_policy::matrix::Verdict::Deliver;
    let changed = Bundle::from_files(bundle.with_cell("identity", "caw_victim", cell).unwrap()).unwrap();
    let swapped = SignedBundle {
        archive: changed.archive().to_vec(),
        signatures: signed.signatures.clone(),
    };
    assert_eq!(refusal(&swapped, &[&an, &bo]), "BUNDLE_SIGNATURE");
    let mut forged = signed.clone();
    forged.signatures[1] = BundleSignature {
        officer: bo.entry.officer.clone(),
        signature: forged.signatures[0].signature.clone(),
    };
    assert_eq!(refusal(&forged, &[&an, &bo]), "BUNDLE_SIGNATURE");
    let mut cut = signed;
    cut.archive.truncate(cut.archive.len() - 7);
    assert_eq!(refusal(&cut, &[&an, &bo]), "BUNDLE_ARCHIVE");
}
