//! Why a check of evidence failed or could not be made, in English, Dutch and French, by code.

/// One for each code of our own.
pub(super) const WHYS: &[(&str, [&str; 3])] = &[
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
        "MEMBER_UNKNOWN",
        [
            "nothing in a pack has such a name",
            "niets in een bewijspakket heet zo",
            "rien dans un dossier de preuve ne porte ce nom",
        ],
    ),
    (
        "OTHER_NAME",
        [
            "it is not what its name says",
            "het is niet wat de naam zegt",
            "il n'est pas ce que dit son nom",
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
        "ONE_HISTORY",
        [
            "both are of one history",
            "beide zijn van één geschiedenis",
            "les deux sont d'une même histoire",
        ],
    ),
    (
        "SIDE_WRONG",
        [
            "a side of it does not hold",
            "een van de twee kanten klopt niet",
            "l'un des deux côtés n'est pas exact",
        ],
    ),
    (
        "NO_SEEN",
        [
            "what was signed names no checkpoint",
            "wat getekend is noemt geen controlepunt",
            "ce qui a été signé ne nomme aucun point de contrôle",
        ],
    ),
    (
        "FOUND_DIFFERS",
        [
            "found.json says something else than what was signed",
            "found.json zegt iets anders dan wat getekend is",
            "found.json dit autre chose que ce qui a été signé",
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
        "COSIGNATURE_WRONG",
        [
            "a witness' line does not hold",
            "een regel van een getuige klopt niet",
            "la ligne d'un témoin n'est pas exacte",
        ],
    ),
    (
        "PROVISIONAL",
        [
            "provisional: too few witnesses cosigned it",
            "voorlopig: te weinig getuigen tekenden mee",
            "provisoire : trop peu de témoins l'ont cosigné",
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
        "LOG_FROZEN",
        [
            "it is beyond the end of a shard of the log that the authority has frozen: whoever made it has that shard's key",
            "het ligt voorbij het einde van een deel van het logboek dat de autoriteit heeft afgesloten: wie het maakte heeft de sleutel van dat deel",
            "il est au-delà de la fin d'une partie du journal que l'autorité a close : celui qui l'a fait en a la clé",
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
