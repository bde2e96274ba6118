//! What a check of evidence says to a person, in Dutch, French and English: the claim, and why it does not hold. Codes
//! are the same in every language; what has no words in it is told in English.

use super::report::{Check, Finding, Outcome, Why};

/// In this order stand the words of each.
const ORDER: [&str; 3] = ["en", "nl", "fr"];

/// Width of the column with the marks.
pub(super) const MARKS_WIDTH: usize = 6;

/// Good, failed, not applicable.
const MARKS: [[&str; 3]; 3] = [
    ["ok", "FAILED", "n/a"],
    ["goed", "FOUT", "n.v.t."],
    ["bon", "ÉCHEC", "s.o."],
];

fn place(language: &str) -> usize {
    ORDER.iter().position(|one| *one == language).unwrap_or(0)
}

fn pick(words: [&'static str; 3], language: &str) -> &'static str {
    words.get(place(language)).copied().unwrap_or_default()
}

/// Mark and sentence of a finding.
pub(super) fn line(finding: &Finding, language: &str) -> (&'static str, String) {
    let marks = MARKS.get(place(language)).copied().unwrap_or_default();
    let [ok, failed, none] = marks;
    let claim = pick(claim(finding.check), language);
    match &finding.outcome {
        Outcome::Ok => (ok, format!("{claim}.")),
        Outcome::Failed(why) => (failed, format!("{claim}: {}.", because(why, language))),
        Outcome::NotApplicable(why) => (none, format!("{claim}: {}.", because(why, language))),
    }
}

/// The last line.
pub(super) fn verdict(ok: usize, failed: usize, skipped: usize, language: &str) -> String {
    match (language, failed) {
        ("nl", 0) => format!("Alles klopt: {ok} controles goed, {skipped} niet van toepassing."),
        ("nl", _) => format!(
            "Het bewijs klopt NIET: {failed} controles fout, {ok} goed, {skipped} niet van toepassing."
        ),
        ("fr", 0) => format!("Tout est exact : {ok} vérifications bonnes, {skipped} sans objet."),
        ("fr", _) => {
            format!("La preuve n'est PAS exacte : {failed} échecs, {ok} bonnes, {skipped} sans objet.")
        }
        (_, 0) => format!("Everything holds: {ok} checks good, {skipped} not applicable."),
        (_, _) => format!(
            "The evidence does NOT hold: {failed} checks failed, {ok} good, {skipped} not applicable."
        ),
    }
}

fn because(why: &Why, language: &str) -> String {
    let ours = WHYS
        .iter()
        .find(|(code, _)| *code == why.code)
        .map(|(_, words)| pick(*words, language));
    let said = ours.or_else(|| schakel_proto::words::of(&why.code, language).map(|words| words.sentence));
    match (said, why.detail.as_str()) {
        (None, detail) => format!("{} {detail}", why.code).trim_end().to_owned(),
        (Some(said), "") => said.to_owned(),
        (Some(said), detail) => format!("{said} ({detail})"),
    }
}

/// What each check claims.
fn claim(check: Check) -> [&'static str; 3] {
    match check {
        Check::Container => [
            "The file has the form of a pack, within its bounds",
            "Het bestand heeft de vorm van een bewijspakket, binnen de grenzen",
            "Le fichier a la forme d'un dossier de preuve, dans ses limites",
        ],
        Check::Files => [
            "Every file has the digest that SHA256SUMS lists, and none is missing or too many",
            "Elk bestand heeft de vingerafdruk uit SHA256SUMS, en er is er geen te weinig of te veel",
            "Chaque fichier a l'empreinte indiquée dans SHA256SUMS, et aucun ne manque ni n'est de trop",
        ],
        Check::Description => [
            "What the pack says of itself is what the manifest says",
            "Wat het bewijspakket over zichzelf zegt, zegt ook het manifest",
            "Ce que le dossier dit de lui-même, le manifeste le dit aussi",
        ],
        Check::Authority => [
            "The network's authority is the one that you trust",
            "De autoriteit van het netwerk is die welke u vertrouwt",
            "L'autorité du réseau est celle à laquelle vous vous fiez",
        ],
        Check::Directory => [
            "The directory is signed by the network's authority",
            "Het adresboek is getekend door de autoriteit van het netwerk",
            "L'annuaire est signé par l'autorité du réseau",
        ],
        Check::Certificate => [
            "The certificate is one that a signed directory lists",
            "Het certificaat staat in een getekend adresboek",
            "Le certificat figure dans un annuaire signé",
        ],
        Check::Checkpoint => [
            "The checkpoint is signed by the log key that a directory names",
            "Het controlepunt is getekend met de logsleutel uit een adresboek",
            "Le point de contrôle est signé par la clé du journal que nomme un annuaire",
        ],
        Check::Cosignatures => [
            "Enough witnesses have cosigned the checkpoint",
            "Genoeg getuigen hebben het controlepunt mee getekend",
            "Assez de témoins ont cosigné le point de contrôle",
        ],
        Check::Inclusion => [
            "The leaf stands in the log under its checkpoint",
            "Het blad staat in het logboek onder zijn controlepunt",
            "La feuille figure au journal sous son point de contrôle",
        ],
        Check::Commitment => [
            "The leaf commits to what the entry says",
            "Het blad legt vast wat de inschrijving zegt",
            "La feuille engage ce que dit l'inscription",
        ],
        Check::Entry => [
            "The entry is about this packet, its manifest, sender and case",
            "De inschrijving gaat over dit pakket, zijn manifest, afzender en dossier",
            "L'inscription concerne ce paquet, son manifeste, son expéditeur et son dossier",
        ],
        Check::Decision => [
            "The decision is the one that the entry commits to",
            "De beslissing is die welke de inschrijving vastlegt",
            "La décision est celle que l'inscription engage",
        ],
        Check::Attachment => [
            "The signed message is the one that the entry names",
            "Het getekende bericht is dat wat de inschrijving noemt",
            "Le message signé est celui que nomme l'inscription",
        ],
        Check::Manifest => [
            "The manifest has its form",
            "Het manifest heeft zijn vorm",
            "Le manifeste a sa forme",
        ],
        Check::Signature => [
            "The sender signed the manifest with a key that was valid when the log accepted it",
            "De afzender tekende het manifest met een sleutel die geldig was toen het logboek het aannam",
            "L'expéditeur a signé le manifeste avec une clé valable lorsque le journal l'a accepté",
        ],
        Check::Opening => [
            "The description is one that the manifest commits to",
            "De beschrijving is door het manifest vastgelegd",
            "La description est engagée par le manifeste",
        ],
        Check::Decided => [
            "The decision is about a recipient and parts of this packet, and made when it was logged",
            "De beslissing gaat over een ontvanger en delen van dit pakket, en viel toen ze werd ingeschreven",
            "La décision concerne un destinataire et des parties de ce paquet, et date de son inscription",
        ],
        Check::Part => [
            "The content is what the sender committed to",
            "De inhoud is wat de afzender heeft vastgelegd",
            "Le contenu est celui que l'expéditeur a engagé",
        ],
        Check::Sealed => [
            "The sealed part is what the sender committed to",
            "Het verzegelde deel is wat de afzender heeft vastgelegd",
            "La partie scellée est celle que l'expéditeur a engagée",
        ],
        Check::Acknowledgement => [
            "The recipient signed the acknowledgement of this consignment",
            "De ontvanger tekende de ontvangstmelding van deze aanbieding",
            "Le destinataire a signé l'accusé de cette remise",
        ],
        Check::Recall => [
            "The sender signed the recall",
            "De afzender tekende de terugroeping",
            "L'expéditeur a signé le rappel",
        ],
        Check::Expiry => [
            "The packet's time was over",
            "De tijd van het pakket was om",
            "Le délai du paquet était écoulé",
        ],
        Check::Submission => [
            "The log accepted the packet",
            "Het logboek heeft het pakket aangenomen",
            "Le journal a accepté le paquet",
        ],
        Check::Consignment => [
            "The log says that the packet was made available to the agency that shows this",
            "Het logboek zegt dat het pakket is aangeboden aan de instantie die dit toont",
            "Le journal dit que le paquet a été mis à la disposition de l'organisme qui présente ceci",
        ],
        Check::Order => [
            "Positions in the log and times follow each other",
            "Plaatsen in het logboek en tijdstippen volgen elkaar op",
            "Les places au journal et les moments se suivent",
        ],
        Check::Consistency => [
            "The newest checkpoint extends this one: there is one history",
            "Het nieuwste controlepunt zet dit voort: er is één geschiedenis",
            "Le point de contrôle le plus récent prolonge celui-ci : il n'y a qu'une histoire",
        ],
        Check::Timestamp => [
            "A time-stamping authority has seen a checkpoint",
            "Een tijdstempeldienst heeft een controlepunt gezien",
            "Une autorité d'horodatage a vu un point de contrôle",
        ],
        Check::Contradiction => [
            "The log's key signed two checkpoints that contradict each other",
            "De logsleutel tekende twee controlepunten die elkaar tegenspreken",
            "La clé du journal a signé deux points de contrôle qui se contredisent",
        ],
    }
}

/// Why a check failed or could not be made.
const WHYS: &[(&str, [&str; 3])] = &[
    (
        "PACK_DAMAGED",
        [
            "the file is damaged",
            "het bestand is beschadigd",
            "le fichier est endommagé",
        ],
    ),
    (
        "PACK_FORMAT",
        [
            "it is of another form than this program reads",
            "het heeft een andere vorm dan dit programma leest",
            "sa forme n'est pas celle que lit ce programme",
        ],
    ),
    ("MEMBER_MISSING", ["it is missing", "het ontbreekt", "il manque"]),
    (
        "MEMBER_UNREADABLE",
        ["it cannot be read", "het is niet te lezen", "il est illisible"],
    ),
    (
        "MEMBER_CHANGED",
        [
            "it has another digest",
            "het heeft een andere vingerafdruk",
            "son empreinte est autre",
        ],
    ),
    (
        "MEMBER_NOT_LISTED",
        [
            "it is not listed",
            "het staat niet in de lijst",
            "il n'est pas dans la liste",
        ],
    ),
    (
        "TOO_MANY",
        ["there are too many", "er zijn er te veel", "il y en a trop"],
    ),
    (
        "OTHER_NETWORK",
        [
            "it is of another network",
            "het is van een ander netwerk",
            "il est d'un autre réseau",
        ],
    ),
    (
        "OTHER_PACKET",
        [
            "it is about another packet",
            "het gaat over een ander pakket",
            "il concerne un autre paquet",
        ],
    ),
    (
        "OTHER_MANIFEST",
        [
            "it names another manifest",
            "het noemt een ander manifest",
            "il nomme un autre manifeste",
        ],
    ),
    (
        "OTHER_SENDER",
        [
            "it names another sender or case",
            "het noemt een andere afzender of een ander dossier",
            "il nomme un autre expéditeur ou dossier",
        ],
    ),
    (
        "OTHER_VERSION",
        [
            "it is of another version",
            "het is van een andere versie",
            "il est d'une autre version",
        ],
    ),
    (
        "OTHER_OUTCOME",
        [
            "a part was decided otherwise",
            "over een deel is anders beslist",
            "il a été décidé autrement d'une partie",
        ],
    ),
    (
        "OTHER_TIME",
        [
            "it was made at another time",
            "het is van een ander tijdstip",
            "il date d'un autre moment",
        ],
    ),
    (
        "OTHER_ORDER",
        [
            "it comes before what it follows from",
            "het komt vóór dat waarop het volgt",
            "il précède ce dont il découle",
        ],
    ),
    (
        "OTHER_LOG",
        [
            "it is of another log",
            "het is van een ander logboek",
            "il est d'un autre journal",
        ],
    ),
    (
        "OTHER_SALT",
        [
            "the salt is another one",
            "het zout is een ander",
            "le sel est autre",
        ],
    ),
    (
        "AUTHORITY_NOT_GIVEN",
        [
            "no certificate of the authority was given with --authority; the rest was checked with the one in the pack, which proves nothing before you have compared its fingerprint",
            "er is geen certificaat van de autoriteit gegeven met --authority; de rest is gecontroleerd met dat uit het pakket, en dat bewijst niets voor u de vingerafdruk hebt vergeleken",
            "aucun certificat de l'autorité n'a été donné avec --authority ; le reste est vérifié avec celui du dossier, qui ne prouve rien avant que vous ayez comparé son empreinte",
        ],
    ),
    (
        "AUTHORITY_UNREADABLE",
        [
            "there is no authority's certificate to check by",
            "er is geen certificaat van een autoriteit om mee te controleren",
            "il n'y a pas de certificat d'une autorité pour vérifier",
        ],
    ),
    (
        "NOT_LISTED",
        [
            "no signed directory in the pack lists it so",
            "geen getekend adresboek in het pakket noemt het zo",
            "aucun annuaire signé du dossier ne l'indique ainsi",
        ],
    ),
    (
        "NO_DIRECTORY",
        [
            "no directory that holds was in force",
            "er was geen adresboek van kracht dat klopt",
            "aucun annuaire exact n'était en vigueur",
        ],
    ),
    (
        "NO_ENTRY",
        [
            "no entry that holds says so",
            "geen inschrijving die klopt zegt dat",
            "aucune inscription exacte ne le dit",
        ],
    ),
    (
        "NO_OPENING",
        [
            "the pack does not open its description",
            "het pakket opent de beschrijving niet",
            "le dossier n'en ouvre pas la description",
        ],
    ),
    (
        "NO_CONTENT",
        [
            "the content is not in the pack",
            "de inhoud zit niet in het pakket",
            "le contenu n'est pas dans le dossier",
        ],
    ),
    (
        "NO_CONSIGNMENT",
        [
            "it is not about a consignment that holds, or about other parts",
            "het gaat niet over een aanbieding die klopt, of over andere delen",
            "il ne concerne pas une remise exacte, ou concerne d'autres parties",
        ],
    ),
    (
        "NO_CONSISTENCY",
        [
            "the pack holds no proof of it",
            "het pakket bevat daar geen bewijs van",
            "le dossier n'en contient pas la preuve",
        ],
    ),
    (
        "NO_CONTRADICTION",
        [
            "these two may both be true: of different sizes, without a proof under one that shows the other false",
            "deze twee kunnen allebei waar zijn: van verschillende grootte, zonder bewijs onder het ene dat het andere onwaar maakt",
            "les deux peuvent être vrais : de tailles différentes, sans preuve sous l'un qui démente l'autre",
        ],
    ),
    (
        "NO_TIMESTAMP",
        [
            "there is none in the pack",
            "er zit er geen in het pakket",
            "il n'y en a pas dans le dossier",
        ],
    ),
    (
        "TIMESTAMP_ELSEWHERE",
        [
            "this program does not check it: use `openssl ts -verify`, as docs/format/evidence-pack.md says",
            "dit programma controleert het niet: gebruik `openssl ts -verify`, zoals docs/format/evidence-pack.md zegt",
            "ce programme ne le vérifie pas : employez `openssl ts -verify`, comme le dit docs/format/evidence-pack.md",
        ],
    ),
    (
        "NOT_SHOWN",
        [
            "it was not shown to who made the pack",
            "het is niet getoond aan wie het pakket maakte",
            "elle n'a pas été montrée à qui a fait le dossier",
        ],
    ),
    (
        "NOT_NEWEST",
        [
            "it is larger than the newest checkpoint of the pack",
            "het is groter dan het nieuwste controlepunt van het pakket",
            "il est plus grand que le point de contrôle le plus récent du dossier",
        ],
    ),
    (
        "TWO_ROOTS",
        [
            "there are two roots of one size: the log contradicts itself",
            "er zijn twee wortels van één grootte: het logboek spreekt zichzelf tegen",
            "il y a deux racines d'une même taille : le journal se contredit",
        ],
    ),
    (
        "PROVISIONAL",
        [
            "provisional: no cosignature of a witness is in it",
            "voorlopig: er staat geen handtekening van een getuige in",
            "provisoire : aucune signature d'un témoin n'y figure",
        ],
    ),
    (
        "SHOWN_BY_SENDER",
        [
            "the sender shows it",
            "de afzender toont het",
            "l'expéditeur le présente",
        ],
    ),
    (
        "EXPIRED_EARLY",
        [
            "it was not over yet",
            "ze was nog niet om",
            "il ne l'était pas encore",
        ],
    ),
    (
        "CHECKPOINT_WRONG",
        [
            "a checkpoint does not hold",
            "een controlepunt klopt niet",
            "un point de contrôle n'est pas exact",
        ],
    ),
    (
        "ENTRY_WRONG",
        [
            "the entry does not hold",
            "de inschrijving klopt niet",
            "l'inscription n'est pas exacte",
        ],
    ),
    (
        "ATTACHMENT_WRONG",
        [
            "the signed message does not hold",
            "het getekende bericht klopt niet",
            "le message signé n'est pas exact",
        ],
    ),
    (
        "OPENING_WRONG",
        [
            "a description does not hold",
            "een beschrijving klopt niet",
            "une description n'est pas exacte",
        ],
    ),
    (
        "MANIFEST_WRONG",
        [
            "the manifest does not hold",
            "het manifest klopt niet",
            "le manifeste n'est pas exact",
        ],
    ),
    (
        "ACKNOWLEDGEMENT_WRONG",
        [
            "it is not what it must be",
            "het is niet wat het moet zijn",
            "il n'est pas ce qu'il doit être",
        ],
    ),
    (
        "EVIDENCE_MALFORMED",
        [
            "it does not have its form",
            "het heeft zijn vorm niet",
            "il n'a pas sa forme",
        ],
    ),
    (
        "EVIDENCE_NETWORK",
        [
            "it is of another network",
            "het is van een ander netwerk",
            "il est d'un autre réseau",
        ],
    ),
    (
        "EVIDENCE_COMMITMENT",
        [
            "salt and body give another commitment",
            "zout en tekst geven een andere vastlegging",
            "sel et texte donnent un autre engagement",
        ],
    ),
    (
        "EVIDENCE_DIGEST",
        [
            "it has another digest",
            "het heeft een andere vingerafdruk",
            "son empreinte est autre",
        ],
    ),
    (
        "EVIDENCE_CHECKPOINT",
        [
            "its signature does not hold",
            "de handtekening klopt niet",
            "la signature n'est pas exacte",
        ],
    ),
    (
        "EVIDENCE_PROOF",
        [
            "the proof does not lead there",
            "het bewijs leidt daar niet heen",
            "la preuve n'y mène pas",
        ],
    ),
    (
        "DIRECTORY_SIGNATURE",
        [
            "the authority did not sign it",
            "de autoriteit heeft het niet getekend",
            "l'autorité ne l'a pas signé",
        ],
    ),
    (
        "DIRECTORY_MALFORMED",
        [
            "it does not have the form of a directory",
            "het heeft niet de vorm van een adresboek",
            "il n'a pas la forme d'un annuaire",
        ],
    ),
    (
        "DIRECTORY_NETWORK",
        [
            "it is a directory of another network",
            "het is een adresboek van een ander netwerk",
            "c'est l'annuaire d'un autre réseau",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::evidence::report::why;

    #[test]
    fn every_check_and_reason_has_words_of_its_own_in_every_language() {
        for (at, language) in ORDER.iter().enumerate() {
            let claims: BTreeSet<_> = Check::ALL.iter().map(|check| claim(*check)[at]).collect();
            assert_eq!(claims.len(), Check::ALL.len(), "{language}");
            let codes: BTreeSet<_> = WHYS.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes.len(), WHYS.len());
            for (code, words) in WHYS {
                assert!(!words[at].is_empty() && !words[at].ends_with('.'), "{code}");
                assert!(at == 0 || words[at] != words[0], "{code}");
            }
        }
        let names: BTreeSet<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(names.len(), Check::ALL.len());
    }

    #[test]
    fn a_line_says_the_claim_and_why_it_does_not_hold() {
        let finding = Finding {
            check: Check::Part,
            about: "part-1".to_owned(),
            outcome: Outcome::Failed(why("COMMITMENT_DIFFERS").of("part-1")),
        };
        let (mark, said) = line(&finding, "nl");
        assert_eq!(mark, "FOUT");
        assert!(
            said.starts_with("De inhoud is wat de afzender heeft vastgelegd: "),
            "{said}"
        );
        assert!(said.ends_with("(part-1)."), "{said}");
        assert_ne!(line(&finding, "fr"), line(&finding, "en"));
    }
}
