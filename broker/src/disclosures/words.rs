//! The words of the list of disclosures, in Dutch, French and English. Categories and reasons have theirs in the
//! policy bundle.

use schakel_policy::texts::Texts;

/// The languages.
pub(crate) const LANGUAGES: [&str; 3] = ["nl", "fr", "en"];

/// The words of one language.
pub(super) struct Words {
    pub(super) language: &'static str,
    /// Position in the tables of codes.
    column: usize,
    pub(super) title: &'static str,
    pub(super) case: &'static str,
    pub(super) subject: &'static str,
    pub(super) made: &'static str,
    pub(super) ground: &'static str,
    pub(super) law: &'static str,
    pub(super) about: &'static str,
    pub(super) none: &'static str,
    pub(super) received: &'static str,
    pub(super) possibly: &'static str,
    pub(super) basis_word: &'static str,
    pub(super) purpose_word: &'static str,
    pub(super) reason_word: &'static str,
    pub(super) said: &'static str,
    pub(super) shielded: &'static str,
    pub(super) packet: &'static str,
    pub(super) kept_back: &'static str,
    pub(super) not_included_title: &'static str,
    pub(super) not_included: [&'static str; 6],
}

const DUTCH: Words = Words {
    language: "nl",
    column: 0,
    title: "Overzicht van de mededelingen over een persoon",
    case: "Zaak",
    subject: "Persoon (pseudoniem in deze zaak)",
    made: "Opgemaakt op",
    ground: "Rechtsgrond van dit overzicht",
    law: "AVG artikel 15, lid 1, c) (ontvangers), met de beperkingen van AVG artikel 23 en de wet van 30 juli 2018",
    about: "Dit overzicht zegt welke dienst welke soort gegevens over deze persoon ontving, wanneer, van wie en op welke grond. \
            Het is opgemaakt uit de metagegevens van de makelaar en is bestemd voor de functionaris voor gegevensbescherming, \
            die beslist wat de persoon te zien krijgt.",
    none: "Er is in deze zaak niets over deze persoon meegedeeld.",
    received: "ontvangen",
    possibly: "mogelijk meegedeeld: overhandigd, ontvangst niet bevestigd of geweigerd",
    basis_word: "Rechtsgrond",
    purpose_word: "Doel",
    reason_word: "Beslissing",
    said: "Daarna",
    shielded: "Afkomstig van politie of parket: niet tonen en niet vermelden zonder toestemming van de bron (wet van 30 juli 2018, artikel 14).",
    packet: "Zending",
    kept_back: "Stukken over deze persoon die naar niemand gingen",
    not_included_title: "Niet opgenomen, en waarom",
    not_included: [
        "De inhoud van de stukken: de makelaar kan die niet lezen. Vraag ze aan de dienst die ze verzond of ontving.",
        "Stukken die achtergehouden, aangehouden, op tijd teruggenomen of verlopen zijn: ze zijn aan niemand meegedeeld; enkel hun aantal staat hierboven.",
        "Wat diensten buiten dit netwerk of mondeling meedeelden: daarvan weet de makelaar niets.",
        "Verklaringen over de zaak (toestemming, maatregel, deelnemers): deelnemers zien die volgens de regels; ze staan in het dossier van elke dienst.",
        "Gegevens over andere personen in dezelfde zaak: leden van een cliëntsysteem zijn derden voor elkaar.",
        "Pakketten waarvan de bewaartermijn verstreken is, en gewiste zaken: wie ze ontving, staat enkel nog in het dossier van de diensten.",
    ],
};

const FRENCH: Words = Words {
    language: "fr",
    column: 1,
    title: "Relevé des communications concernant une personne",
    case: "Dossier",
    subject: "Personne (pseudonyme dans ce dossier)",
    made: "Établi le",
    ground: "Base légale de ce relevé",
    law: "RGPD article 15, paragraphe 1, c) (destinataires), avec les limitations du RGPD article 23 et de la loi du 30 juillet 2018",
    about: "Ce relevé indique quel service a reçu quelle catégorie de données sur cette personne, quand, de qui et sur quelle base. \
            Il est établi à partir des métadonnées du courtier et est destiné au délégué à la protection des données, \
            qui décide de ce qui est montré à la personne.",
    none: "Rien n'a été communiqué au sujet de cette personne dans ce dossier.",
    received: "reçu",
    possibly: "peut-être communiqué : remis, réception non confirmée ou refusée",
    basis_word: "Base légale",
    purpose_word: "Finalité",
    reason_word: "Décision",
    said: "Ensuite",
    shielded: "Provient de la police ou du parquet : ne pas montrer ni mentionner sans l'autorisation de la source (loi du 30 juillet 2018, article 14).",
    packet: "Envoi",
    kept_back: "Pièces concernant cette personne qui ne sont allées à personne",
    not_included_title: "Non repris, et pourquoi",
    not_included: [
        "Le contenu des pièces : le courtier ne peut pas le lire. À demander au service qui les a envoyées ou reçues.",
        "Les pièces retenues, en attente, reprises à temps ou expirées : elles n'ont été communiquées à personne ; seul leur nombre figure ci-dessus.",
        "Ce que des services ont communiqué hors de ce réseau ou oralement : le courtier n'en sait rien.",
        "Les déclarations sur le dossier (consentement, mesure, participants) : les participants les voient selon les règles ; elles figurent au dossier de chaque service.",
        "Les données d'autres personnes du même dossier : les membres d'un système client sont des tiers les uns pour les autres.",
        "Les paquets dont le délai de conservation est écoulé, et les dossiers effacés : leurs destinataires ne figurent plus qu'aux dossiers des services.",
    ],
};

const ENGLISH: Words = Words {
    language: "en",
    column: 2,
    title: "Disclosures about a person",
    case: "Case",
    subject: "Person (pseudonym within this case)",
    made: "Made on",
    ground: "Legal ground of this list",
    law: "GDPR article 15(1)(c) (recipients), with the restrictions of GDPR article 23 and the Belgian law of 30 July 2018",
    about: "This list says which agency received which category of data about this person, when, from whom and on which ground. \
            It is made from the broker's metadata and is meant for the data protection officer, \
            who decides what the person is shown.",
    none: "Nothing about this person was disclosed in this case.",
    received: "received",
    possibly: "possibly disclosed: handed over, not acknowledged or refused",
    basis_word: "Legal basis",
    purpose_word: "Purpose",
    reason_word: "Decision",
    said: "Afterwards",
    shielded: "Comes from police or prosecutor: not to be shown or mentioned without permission of the source (law of 30 July 2018, article 14).",
    packet: "Packet",
    kept_back: "Parts about this person that went to nobody",
    not_included_title: "Not included, and why",
    not_included: [
        "The content of the parts: the broker cannot read it. Ask the agency that sent or received it.",
        "Parts that were withheld, held, taken back in time or expired: they were disclosed to nobody; only their number stands above.",
        "What agencies told each other outside this network or by word of mouth: the broker knows nothing of it.",
        "Statements on the case (consent, measure, roster): participants see them by the rules; they stand in each agency's file.",
        "Data of other persons of the same case: members of a client system are third parties to each other.",
        "Packets whose retention had ended, and erased cases: who received them stands in the agencies' own files only.",
    ],
};

/// Legal bases (domain.md 6.6): code, Dutch, French, English.
const BASES: [(&str, [&str; 3]); 14] = [
    (
        "legal_duty",
        ["wettelijke plicht", "obligation légale", "legal duty"],
    ),
    ("mandate", ["mandaat", "mandat", "mandate"]),
    (
        "house_ban",
        [
            "tijdelijk huisverbod",
            "interdiction temporaire de résidence",
            "temporary house ban",
        ],
    ),
    ("registration", ["aanmelding", "signalement", "registration"]),
    (
        "consultation",
        ["casusoverleg", "concertation de cas", "case consultation"],
    ),
    ("consent", ["toestemming", "consentement", "consent"]),
    (
        "shared_secrecy",
        [
            "gedeeld beroepsgeheim",
            "secret professionnel partagé",
            "shared professional secrecy",
        ],
    ),
    (
        "report_right",
        ["meldrecht", "droit de parole", "right to report"],
    ),
    (
        "child_protection_report",
        [
            "melding van verontrusting",
            "signalement d'une situation inquiétante",
            "child protection report",
        ],
    ),
    (
        "dijh_75_basics",
        [
            "basisgegevens (decreet integrale jeugdhulp art. 75)",
            "données de base (décret aide intégrale à la jeunesse art. 75)",
            "basics (decree on youth help art. 75)",
        ],
    ),
    (
        "helpline_referral",
        [
            "doorverwijzing door de hulplijn",
            "renvoi par la ligne d'écoute",
            "helpline referral",
        ],
    ),
    (
        "dossier_transfer",
        [
            "overdracht van dossier",
            "transfert de dossier",
            "dossier transfer",
        ],
    ),
    (
        "public_interest_task",
        [
            "taak van algemeen belang",
            "mission d'intérêt public",
            "task in the public interest",
        ],
    ),
    ("emergency", ["noodsituatie", "urgence", "emergency"]),
];

/// Purposes (domain.md 6.6): code, Dutch, French, English.
const PURPOSES: [(&str, [&str; 3]); 14] = [
    (
        "care_coordination",
        ["zorgcoördinatie", "coordination de l'aide", "care coordination"],
    ),
    (
        "case_consultation",
        ["casusoverleg", "concertation de cas", "case consultation"],
    ),
    (
        "child_protection",
        [
            "bescherming van het kind",
            "protection de l'enfant",
            "child protection",
        ],
    ),
    (
        "court_proceedings",
        [
            "gerechtelijke procedure",
            "procédure judiciaire",
            "court proceedings",
        ],
    ),
    ("follow_up", ["opvolging", "suivi", "follow-up"]),
    (
        "helpline_referral",
        [
            "doorverwijzing door de hulplijn",
            "renvoi par la ligne d'écoute",
            "helpline referral",
        ],
    ),
    (
        "house_ban_execution",
        [
            "uitvoering van het huisverbod",
            "exécution de l'interdiction de résidence",
            "execution of the house ban",
        ],
    ),
    (
        "offender_supervision",
        ["daderbegeleiding", "guidance d'auteurs", "offender supervision"],
    ),
    (
        "offender_support",
        ["hulp aan de pleger", "aide à l'auteur", "offender support"],
    ),
    ("prosecution", ["vervolging", "poursuites", "prosecution"]),
    ("registration", ["aanmelding", "signalement", "registration"]),
    (
        "safety_protection",
        [
            "bescherming van de veiligheid",
            "protection de la sécurité",
            "protection of safety",
        ],
    ),
    ("triage", ["triage", "triage", "triage"]),
    (
        "victim_support",
        ["slachtofferhulp", "aide aux victimes", "victim support"],
    ),
];

fn looked_up(table: &[(&str, [&'static str; 3])], code: &str, column: usize) -> String {
    let found = table.iter().find(|(known, _)| *known == code);
    let word = found.and_then(|(_, words)| words.get(column));
    word.map_or_else(|| code.to_owned(), |word| (*word).to_owned())
}

impl Words {
    /// The words of a language; Dutch if it is none of ours.
    pub(super) fn of(language: &str) -> &'static Self {
        match language {
            "fr" => &FRENCH,
            "en" => &ENGLISH,
            _ => &DUTCH,
        }
    }

    /// A legal basis.
    pub(super) fn basis(&self, code: &str) -> String {
        looked_up(&BASES, code, self.column)
    }

    /// A purpose.
    pub(super) fn purpose(&self, code: &str) -> String {
        looked_up(&PURPOSES, code, self.column)
    }

    /// A category, as the bundle calls it.
    pub(super) fn category(&self, texts: &Texts, code: &str) -> String {
        let language = texts.language(self.language);
        let word = language.and_then(|language| language.category.get(code));
        word.map_or_else(|| code.to_owned(), Clone::clone)
    }

    /// A reason, as the bundle says it.
    pub(super) fn reason(&self, texts: &Texts, code: &str) -> String {
        let language = texts.language(self.language);
        let word = language.and_then(|language| language.reason.get(code));
        word.map_or_else(|| code.to_owned(), Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_words() {
        for (language, basis) in LANGUAGES.iter().zip(["noodsituatie", "urgence", "emergency"]) {
            let words = Words::of(language);
            assert_eq!(words.language, *language);
            assert_eq!(words.basis("emergency"), basis);
            assert_eq!(words.purpose("of_tomorrow"), "of_tomorrow");
        }
    }
}
