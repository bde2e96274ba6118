//! What a refusal says in Dutch.

/// What is wrong, by code.
pub(super) const SENTENCES: &[(&str, &str)] = &[
    ("MANIFEST_TOO_LONG", "Het manifest is langer dan toegestaan"),
    ("MANIFEST_MALFORMED", "Het manifest is niet te lezen"),
    ("DESCRIPTOR_TOO_LONG", "Een beschrijving is langer dan toegestaan"),
    ("DESCRIPTOR_MALFORMED", "Een beschrijving is niet te lezen"),
    (
        "NOT_CANONICAL",
        "De bytes zijn niet de vaste schrijfwijze van wat er staat (onbekende, herhaalde of verplaatste velden)",
    ),
    (
        "TYPE_WRONG",
        "Het bericht noemt een ander type dan hier verwacht wordt",
    ),
    ("FIELD_MISSING", "Een verplicht veld is niet ingevuld"),
    ("FIELD_INVALID", "Een veld heeft niet de vorm die het moet hebben"),
    (
        "PACKET_ID_NOT_V7",
        "Het nummer van het pakket is geen UUID van versie 7",
    ),
    (
        "TIMES_WRONG",
        "Het pakket vervalt voor het gemaakt is, of een tijdstip ligt voor 1970",
    ),
    ("LIFE_TOO_LONG", "Het pakket leeft langer dan toegestaan"),
    (
        "DIGESTS_COUNT_WRONG",
        "Een lijst van vingerafdrukken in het manifest heeft niet haar vaste lengte",
    ),
    ("DIGEST_REPEATED", "Een vingerafdruk staat twee keer in een lijst"),
    (
        "RECIPIENTS_COUNT_WRONG",
        "Er zijn geen ontvangers, of meer dan toegestaan",
    ),
    ("PARTS_COUNT_WRONG", "Er zijn geen delen, of meer dan toegestaan"),
    (
        "OPENING_NONCE_WRONG",
        "Het toevalsgetal van een opening heeft geen 32 bytes",
    ),
    (
        "OPENING_NOT_IN_MANIFEST",
        "Een opening hoort bij geen vingerafdruk van het manifest",
    ),
    (
        "RECIPIENT_REPEATED",
        "Een instantie of sleutel is twee keer ontvanger",
    ),
    ("PART_REPEATED", "Een deel komt twee keer voor"),
    (
        "SUBJECTS_COUNT_WRONG",
        "Een deel gaat over meer personen dan toegestaan",
    ),
    ("SUBJECT_REPEATED", "Een deel noemt een persoon twee keer"),
    (
        "SEALINGS_WRONG",
        "Een deel moet per profiel een verzegeling hebben, eerst v6, dan v4",
    ),
    (
        "SEALING_LENGTH_WRONG",
        "Een verzegeling is korter of langer dan een aangevuld deel kan zijn",
    ),
    (
        "SEALING_REPEATED",
        "Twee verzegelingen hebben dezelfde vingerafdruk",
    ),
    (
        "KEY_PACKET_DIGESTS_WRONG",
        "Een verzegeling noemt geen 4, 8, 16, 32 of 64 sleutelpakketten",
    ),
    (
        "KEY_PACKET_STRAY",
        "Een sleutelpakket is voor een deel of ontvanger die het pakket niet heeft",
    ),
    (
        "KEY_PACKET_REPEATED",
        "Er zijn twee sleutelpakketten voor hetzelfde deel en dezelfde ontvanger",
    ),
    (
        "KEY_PACKET_TOO_LONG",
        "Een sleutelpakket is langer dan toegestaan",
    ),
    (
        "KEY_PACKET_MALFORMED",
        "Dit is niet precies een sleutelpakket met publieke sleutel",
    ),
    (
        "KEY_PACKET_VERSION_WRONG",
        "De versie van het sleutelpakket past niet bij het profiel",
    ),
    (
        "KEY_PACKET_WILDCARD",
        "Het sleutelpakket zegt niet voor wie het is",
    ),
    (
        "KEY_PACKET_OTHER_RECIPIENT",
        "Het sleutelpakket noemt een andere sleutel dan die van de ontvanger",
    ),
    (
        "KEY_PACKET_ALGORITHM_REFUSED",
        "Het sleutelpakket gebruikt een algoritme dat niet toegestaan is",
    ),
    (
        "KEY_PACKET_NOT_COMMITTED",
        "De vingerafdruk van het sleutelpakket staat niet in de beschrijving van het deel",
    ),
    (
        "KEY_PACKET_MISSING",
        "Een deel, verzegeling of ontvanger heeft geen sleutelpakket",
    ),
    (
        "SEALING_NOT_ENCRYPTED_DATA",
        "De verzegeling begint niet als versleutelde gegevens van haar profiel",
    ),
    (
        "SEALING_LENGTH_DIFFERS",
        "De verzegeling heeft niet de lengte die haar beschrijving noemt",
    ),
    (
        "SEALING_DIGEST_DIFFERS",
        "De verzegeling heeft niet de vingerafdruk die haar beschrijving noemt",
    ),
    (
        "SEALING_MISSING",
        "Een verzegeling die een beschrijving noemt, kwam niet of kwam twee keer",
    ),
    ("NETWORK_WRONG", "Het bericht hoort bij een ander netwerk"),
    (
        "SENDER_NOT_CALLER",
        "De afzender is niet de instantie waarvan de verbinding is",
    ),
    ("SENDER_UNKNOWN", "De afzender staat niet in de lijst van leden"),
    (
        "SENDER_KEY_UNKNOWN",
        "De sleutel van de afzender staat niet in de lijst van leden",
    ),
    (
        "CREATED_IN_FUTURE",
        "Het pakket is in de toekomst gemaakt: de klok van de afzender loopt voor",
    ),
    ("PACKET_EXPIRED", "Het pakket is vervallen"),
    (
        "RECIPIENT_UNKNOWN",
        "Een ontvanger staat niet in de lijst van leden",
    ),
    (
        "RECIPIENT_KEY_UNKNOWN",
        "De sleutel van een ontvanger staat niet in de lijst van leden",
    ),
    (
        "RECIPIENT_KEY_SUPERSEDED",
        "Met deze sleutel van een ontvanger mag niet meer verzegeld worden",
    ),
    ("RECIPIENT_NOT_READER", "De opening is voor een andere ontvanger"),
    ("SIGNATURE_TOO_LONG", "De handtekening is langer dan toegestaan"),
    (
        "SIGNATURE_MALFORMED",
        "Dit is niet precies een binaire OpenPGP-handtekening",
    ),
    (
        "SIGNATURE_TYPE_WRONG",
        "De handtekening is niet van type 0x00 (binair document)",
    ),
    (
        "SIGNATURE_VERSION_WRONG",
        "De versie van de handtekening is niet 4 of 6, of niet die van haar sleutel",
    ),
    (
        "SIGNATURE_HASH_REFUSED",
        "De handtekening gebruikt een hashalgoritme dat niet toegestaan is",
    ),
    (
        "SIGNATURE_ALGORITHM_REFUSED",
        "De handtekening gebruikt een algoritme dat niet toegestaan is",
    ),
    (
        "SIGNATURE_SUBPACKET_REFUSED",
        "De handtekening draagt een onderdeel dat niet toegestaan is",
    ),
    (
        "SIGNATURE_ISSUER_UNKNOWN",
        "De handtekening is niet gezet met een sleutel van dit certificaat",
    ),
    (
        "SIGNATURE_IN_FUTURE",
        "De handtekening is in de toekomst gezet: de klok van de ondertekenaar loopt voor",
    ),
    ("SIGNATURE_EXPIRED", "De handtekening is vervallen"),
    (
        "SIGNATURE_OUTSIDE_KEY_VALIDITY",
        "De handtekening is gezet toen haar sleutel niet geldig was",
    ),
    ("SIGNATURE_BAD", "De handtekening klopt niet"),
    (
        "SIGNATURE_TIME_DIFFERS",
        "De handtekening is op een ander tijdstip gezet dan het bericht zegt",
    ),
    (
        "PART_UNKNOWN",
        "Het pakket zoals het overhandigd is, heeft dit deel niet",
    ),
    (
        "SECRET_KEY_MISSING",
        "De geheime sleutel waarvoor dit deel verzegeld is, is hier niet",
    ),
    ("SESSION_KEY_REFUSED", "De sessiesleutel gaat niet open"),
    (
        "ENCRYPTED_DATA_MALFORMED",
        "Dit is niet precies een pakket met versleutelde gegevens",
    ),
    (
        "ENCRYPTED_DATA_VERSION_WRONG",
        "De versleutelde gegevens hebben een andere versie dan hun profiel",
    ),
    (
        "ENCRYPTED_DATA_ALGORITHM_REFUSED",
        "De gegevens zijn niet versleuteld met AES-256 (OCB in profiel v6)",
    ),
    (
        "DECRYPTION_FAILED",
        "De versleutelde gegevens zijn gewijzigd of beschadigd",
    ),
    (
        "INNER_COMPRESSED",
        "Binnen de versleuteling zitten samengeperste gegevens",
    ),
    (
        "INNER_ENCRYPTED",
        "Binnen de versleuteling zit nog een versleuteling",
    ),
    ("INNER_SIGNED", "Binnen de versleuteling zit een handtekening"),
    (
        "INNER_NOT_LITERAL",
        "Binnen de versleuteling zit iets anders dan gewone gegevens",
    ),
    (
        "INNER_SEVERAL",
        "Binnen de versleuteling zit meer dan een pakket gegevens",
    ),
    (
        "LITERAL_NOT_PLAIN",
        "De gegevens zijn niet binair, of dragen een naam of datum",
    ),
    ("TRAILING_DATA", "Achter de versleutelde gegevens staat nog iets"),
    (
        "HEADER_LENGTH_WRONG",
        "De verzegelde kop ontbreekt of is langer dan toegestaan",
    ),
    ("HEADER_MALFORMED", "De verzegelde kop is niet te lezen"),
    (
        "HEADER_DIFFERS",
        "De verzegelde kop noemt een ander pakket, deel, netwerk of een andere afzender dan het manifest",
    ),
    (
        "HEADER_TEXT_REFUSED",
        "Een naam in de verzegelde kop is te lang of bevat stuurtekens",
    ),
    (
        "CONTENT_LENGTH_WRONG",
        "De inhoud is leeg, te lang, of niet zo lang als de verzegelde kop zegt",
    ),
    (
        "PADDING_WRONG",
        "De tekst is niet met nullen aangevuld tot de kleinste maat die past",
    ),
    (
        "COMMITMENT_DIFFERS",
        "Wat verzegeld is, is niet waar de afzender zich op vastlegde",
    ),
    (
        "CIPHERTEXT_CHANGED",
        "De bewaarde versleutelde gegevens zijn gewijzigd of beschadigd",
    ),
    (
        "READ_FAILED",
        "De versleutelde gegevens konden niet gelezen worden",
    ),
    ("WRITE_FAILED", "Het resultaat kon niet geschreven worden"),
    (
        "CERTIFICATE_MALFORMED",
        "Dit is niet precies een OpenPGP-certificaat",
    ),
    (
        "CERTIFICATE_NOT_VALID",
        "Het certificaat is op dit tijdstip niet geldig",
    ),
    (
        "NO_SIGNING_KEY",
        "Het certificaat heeft geen geldige sleutel om te ondertekenen",
    ),
    (
        "NO_SEALING_KEY",
        "Het certificaat heeft geen geldige sleutel van een toegestaan algoritme om te verzegelen",
    ),
    (
        "KEY_GENERATION_FAILED",
        "De sleutel kon niet gemaakt worden: de cryptografische bibliotheek kent het algoritme niet",
    ),
    ("SIGNING_FAILED", "De handtekening kon niet gezet worden"),
    ("SEALING_FAILED", "Het versleutelen is mislukt"),
    (
        "CONTENT_READ_FAILED",
        "De inhoud kon niet gelezen worden, of is niet zo lang als aangekondigd",
    ),
    (
        "KEY_PACKETS_TOO_MANY",
        "Er zijn meer sleutelpakketten dan delen maal ontvangers",
    ),
    (
        "FRAMES_OUT_OF_ORDER",
        "De onderdelen van de inzending komen niet in hun volgorde",
    ),
    (
        "CHUNK_OUT_OF_ORDER",
        "De versleutelde gegevens komen niet volledig of niet in hun volgorde",
    ),
    ("PART_TOO_LONG", "Een deel is langer dan deze broker aanneemt"),
    ("UNKNOWN_IDENTITY", "Geen enkel lid heeft deze TLS-sleutel"),
    ("PACKET_ID_REUSED", "Dit nummer is al van een ander pakket"),
    ("DENIED", "De regels weigeren dit pakket voor elke ontvanger"),
    (
        "DELIVERY_MALFORMED",
        "De levering heeft niet de vorm die ze moet hebben",
    ),
    ("DELIVERY_TRUNCATED", "Van de levering kwam niet alles"),
    ("OWN_DECISION_DIFFERS", "De eigen regels leveren dit niet"),
    (
        "CHECKPOINT_OTHER_HISTORY",
        "De afzender zag een ander verloop van het logboek dan ons werd getoond",
    ),
    (
        "LOG_FROZEN",
        "Het logboek toont een controlepunt voorbij het einde van een afgesloten deel: iemand anders heeft de sleutel van dat deel",
    ),
    (
        "CHECKPOINT_UNKNOWN",
        "Het pakket noemt een controlepunt dat niet van dit logboek is",
    ),
    ("CASE_ERASED", "Dit dossier is gewist"),
];

/// What to do, beside the English words for it.
pub(super) const REMEDIES: &[(&str, &str)] = &[
    (
        super::SENDER,
        "De software van de afzender moet verbeterd worden; zend het niet opnieuw zoals het is.",
    ),
    (
        super::SEAL_ANEW,
        "Haal de lijst van leden op en verzegel het pakket opnieuw.",
    ),
    (
        super::KEEP,
        "Leg het pakket opzij, open het niet op een andere manier en verwittig de afzender.",
    ),
    (
        super::KEYS,
        "Laat de sleutelbeheerder van de instantie dit certificaat nakijken.",
    ),
    (
        super::ORDER,
        "Zend eerst de kop, dan een sleutelpakket per deel en ontvanger, dan de gegevens in de volgorde van de kop.",
    ),
    (
        super::SHORTER,
        "Zend een korter deel, of vraag de beheerder van de broker naar zijn grenzen.",
    ),
    (
        super::LIST,
        "Laat de autoriteit van het netwerk de sleutel in de lijst van leden zetten.",
    ),
    (super::NEW_ID, "Geef elk pakket een nieuw nummer."),
    (
        super::REASONS,
        "De code bij elke ontvanger zegt wat in de weg staat; verander dat en verzegel opnieuw.",
    ),
    (
        super::COMPARE,
        "Laat het nieuwste controlepunt bewijzen tegen het geziene; lukt dat niet, verwittig dan de autoriteit van het netwerk.",
    ),
    (
        super::ERASED,
        "Er komt niets meer bij; open een nieuw dossier met een nieuwe verwijzing.",
    ),
    (
        super::DISTRUST,
        "Er is niets aangenomen. Verwittig de autoriteit van het netwerk; beide kanten worden als bewijs bewaard.",
    ),
];
