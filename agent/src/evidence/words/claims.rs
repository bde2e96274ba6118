//! What each check of evidence claims, in English, Dutch and French.

use crate::evidence::report::Check;

/// One for each check.
pub(super) const CLAIMS: &[(Check, [&str; 3])] = &[
    (
        Check::Container,
        [
            "The file has the form of a pack, within its bounds",
            "Het bestand heeft de vorm van een bewijspakket, binnen de grenzen",
            "Le fichier a la forme d'un dossier de preuve, dans ses limites",
        ],
    ),
    (
        Check::Files,
        [
            "Every file has the digest that SHA256SUMS lists, and none is missing or too many",
            "Elk bestand heeft de vingerafdruk uit SHA256SUMS, en er is er geen te weinig of te veel",
            "Chaque fichier a l'empreinte indiquée dans SHA256SUMS, et aucun ne manque ni n'est de trop",
        ],
    ),
    (
        Check::Description,
        [
            "What the pack says of itself is what the manifest says",
            "Wat het bewijspakket over zichzelf zegt, zegt ook het manifest",
            "Ce que le dossier dit de lui-même, le manifeste le dit aussi",
        ],
    ),
    (
        Check::Authority,
        [
            "The network's authority is the one that you trust",
            "De autoriteit van het netwerk is die welke u vertrouwt",
            "L'autorité du réseau est celle à laquelle vous vous fiez",
        ],
    ),
    (
        Check::Directory,
        [
            "The directory is signed by the network's authority",
            "Het adresboek is getekend door de autoriteit van het netwerk",
            "L'annuaire est signé par l'autorité du réseau",
        ],
    ),
    (
        Check::Certificate,
        [
            "The certificate is one that a signed directory lists",
            "Het certificaat staat in een getekend adresboek",
            "Le certificat figure dans un annuaire signé",
        ],
    ),
    (
        Check::Checkpoint,
        [
            "The checkpoint is signed by the log key that a directory names",
            "Het controlepunt is getekend met de logsleutel uit een adresboek",
            "Le point de contrôle est signé par la clé du journal que nomme un annuaire",
        ],
    ),
    (
        Check::Cosignatures,
        [
            "Enough witnesses have cosigned the checkpoint",
            "Genoeg getuigen hebben het controlepunt mee getekend",
            "Assez de témoins ont cosigné le point de contrôle",
        ],
    ),
    (
        Check::Inclusion,
        [
            "The leaf stands in the log under its checkpoint",
            "Het blad staat in het logboek onder zijn controlepunt",
            "La feuille figure au journal sous son point de contrôle",
        ],
    ),
    (
        Check::Commitment,
        [
            "The leaf commits to what the entry says",
            "Het blad legt vast wat de inschrijving zegt",
            "La feuille engage ce que dit l'inscription",
        ],
    ),
    (
        Check::Entry,
        [
            "The entry is about this packet, its manifest, sender and case",
            "De inschrijving gaat over dit pakket, zijn manifest, afzender en dossier",
            "L'inscription concerne ce paquet, son manifeste, son expéditeur et son dossier",
        ],
    ),
    (
        Check::Decision,
        [
            "The decision is the one that the entry commits to",
            "De beslissing is die welke de inschrijving vastlegt",
            "La décision est celle que l'inscription engage",
        ],
    ),
    (
        Check::Attachment,
        [
            "The signed message is the one that the entry names",
            "Het getekende bericht is dat wat de inschrijving noemt",
            "Le message signé est celui que nomme l'inscription",
        ],
    ),
    (
        Check::Manifest,
        [
            "The manifest has its form",
            "Het manifest heeft zijn vorm",
            "Le manifeste a sa forme",
        ],
    ),
    (
        Check::Signature,
        [
            "The sender signed the manifest with a key that was valid when the log accepted it",
            "De afzender tekende het manifest met een sleutel die geldig was toen het logboek het aannam",
            "L'expéditeur a signé le manifeste avec une clé valable lorsque le journal l'a accepté",
        ],
    ),
    (
        Check::Opening,
        [
            "The description is one that the manifest commits to",
            "De beschrijving is door het manifest vastgelegd",
            "La description est engagée par le manifeste",
        ],
    ),
    (
        Check::Decided,
        [
            "The decision is about a recipient and parts of this packet, and made when it was logged",
            "De beslissing gaat over een ontvanger en delen van dit pakket, en viel toen ze werd ingeschreven",
            "La décision concerne un destinataire et des parties de ce paquet, et date de son inscription",
        ],
    ),
    (
        Check::Part,
        [
            "The content is what the sender committed to",
            "De inhoud is wat de afzender heeft vastgelegd",
            "Le contenu est celui que l'expéditeur a engagé",
        ],
    ),
    (
        Check::Sealed,
        [
            "The sealed part is what the sender committed to",
            "Het verzegelde deel is wat de afzender heeft vastgelegd",
            "La partie scellée est celle que l'expéditeur a engagée",
        ],
    ),
    (
        Check::Acknowledgement,
        [
            "The recipient signed the acknowledgement of this consignment",
            "De ontvanger tekende de ontvangstmelding van deze aanbieding",
            "Le destinataire a signé l'accusé de cette remise",
        ],
    ),
    (
        Check::Recall,
        [
            "The sender signed the recall",
            "De afzender tekende de terugroeping",
            "L'expéditeur a signé le rappel",
        ],
    ),
    (
        Check::Expiry,
        [
            "The packet's time was over",
            "De tijd van het pakket was om",
            "Le délai du paquet était écoulé",
        ],
    ),
    (
        Check::Submission,
        [
            "The log accepted the packet",
            "Het logboek heeft het pakket aangenomen",
            "Le journal a accepté le paquet",
        ],
    ),
    (
        Check::Consignment,
        [
            "The log says that the packet was made available to the agency that shows this",
            "Het logboek zegt dat het pakket is aangeboden aan de instantie die dit toont",
            "Le journal dit que le paquet a été mis à la disposition de l'organisme qui présente ceci",
        ],
    ),
    (
        Check::Order,
        [
            "Positions in the log and times follow each other",
            "Plaatsen in het logboek en tijdstippen volgen elkaar op",
            "Les places au journal et les moments se suivent",
        ],
    ),
    (
        Check::Consistency,
        [
            "The newest checkpoint extends this one: there is one history",
            "Het nieuwste controlepunt zet dit voort: er is één geschiedenis",
            "Le point de contrôle le plus récent prolonge celui-ci : il n'y a qu'une histoire",
        ],
    ),
    (
        Check::Timestamp,
        [
            "A time-stamping authority has seen a checkpoint",
            "Een tijdstempeldienst heeft een controlepunt gezien",
            "Une autorité d'horodatage a vu un point de contrôle",
        ],
    ),
    (
        Check::Contradiction,
        [
            "The log's key signed two checkpoints that contradict each other",
            "De logsleutel tekende twee controlepunten die elkaar tegenspreken",
            "La clé du journal a signé deux points de contrôle qui se contredisent",
        ],
    ),
    (
        Check::Seen,
        [
            "The agency signed what it saw of the log, with a key that the directory lists for it",
            "De instantie tekende wat ze van het logboek zag, met een sleutel die het adresboek voor haar noemt",
            "L'organisme a signé ce qu'il a vu du journal, avec une clé que l'annuaire indique pour lui",
        ],
    ),
    (
        Check::Dispute,
        [
            "What the agency saw and the log's checkpoint are not of one history: one of the two lies",
            "Wat de instantie zag en het controlepunt van het logboek zijn niet van één geschiedenis: een van beide liegt",
            "Ce que l'organisme a vu et le point de contrôle du journal ne sont pas d'une même histoire : l'un des deux ment",
        ],
    ),
];
