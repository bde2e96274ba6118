//! What a refusal says in French.

/// What is wrong, by code.
pub(super) const SENTENCES: &[(&str, &str)] = &[
    ("MANIFEST_TOO_LONG", "Le manifeste est plus long que permis"),
    ("MANIFEST_MALFORMED", "Le manifeste est illisible"),
    ("DESCRIPTOR_TOO_LONG", "Un descripteur est plus long que permis"),
    ("DESCRIPTOR_MALFORMED", "Un descripteur est illisible"),
    (
        "NOT_CANONICAL",
        "Les octets ne sont pas l'écriture fixe de leur contenu (champs inconnus, répétés ou déplacés)",
    ),
    (
        "TYPE_WRONG",
        "Le message annonce un autre type que celui attendu ici",
    ),
    ("FIELD_MISSING", "Un champ obligatoire n'est pas rempli"),
    ("FIELD_INVALID", "Un champ n'a pas la forme requise"),
    (
        "PACKET_ID_NOT_V7",
        "L'identifiant du paquet n'est pas un UUID de version 7",
    ),
    (
        "TIMES_WRONG",
        "Le paquet expire avant d'être créé, ou une date précède 1970",
    ),
    ("LIFE_TOO_LONG", "Le paquet vit plus longtemps que permis"),
    (
        "DIGESTS_COUNT_WRONG",
        "Une liste d'empreintes du manifeste n'a pas sa longueur fixe",
    ),
    ("DIGEST_REPEATED", "Une empreinte figure deux fois dans une liste"),
    (
        "RECIPIENTS_COUNT_WRONG",
        "Il n'y a pas de destinataires, ou plus que permis",
    ),
    ("PARTS_COUNT_WRONG", "Il n'y a pas de pièces, ou plus que permis"),
    (
        "OPENING_NONCE_WRONG",
        "Le nombre aléatoire d'une ouverture n'a pas 32 octets",
    ),
    (
        "OPENING_NOT_IN_MANIFEST",
        "Une ouverture ne correspond à aucune empreinte du manifeste",
    ),
    (
        "RECIPIENT_REPEATED",
        "Une institution ou une clé est deux fois destinataire",
    ),
    ("PART_REPEATED", "Une pièce figure deux fois"),
    (
        "SUBJECTS_COUNT_WRONG",
        "Une pièce concerne plus de personnes que permis",
    ),
    ("SUBJECT_REPEATED", "Une pièce nomme deux fois une personne"),
    (
        "SEALINGS_WRONG",
        "Une pièce doit avoir un scellé par profil, d'abord v6, puis v4",
    ),
    (
        "SEALING_LENGTH_WRONG",
        "Un scellé est plus court ou plus long qu'une pièce complétée ne peut l'être",
    ),
    ("SEALING_REPEATED", "Deux scellés ont la même empreinte"),
    (
        "KEY_PACKET_DIGESTS_WRONG",
        "Un scellé n'annonce pas 4, 8, 16, 32 ou 64 paquets de clé",
    ),
    (
        "KEY_PACKET_STRAY",
        "Un paquet de clé vise une pièce ou un destinataire que le paquet n'a pas",
    ),
    (
        "KEY_PACKET_REPEATED",
        "Il y a deux paquets de clé pour la même pièce et le même destinataire",
    ),
    ("KEY_PACKET_TOO_LONG", "Un paquet de clé est plus long que permis"),
    (
        "KEY_PACKET_MALFORMED",
        "Ceci n'est pas exactement un paquet de clé à clé publique",
    ),
    (
        "KEY_PACKET_VERSION_WRONG",
        "La version du paquet de clé ne convient pas au profil",
    ),
    (
        "KEY_PACKET_WILDCARD",
        "Le paquet de clé ne dit pas à qui il est destiné",
    ),
    (
        "KEY_PACKET_OTHER_RECIPIENT",
        "Le paquet de clé nomme une autre clé que celle du destinataire",
    ),
    (
        "KEY_PACKET_ALGORITHM_REFUSED",
        "Le paquet de clé emploie un algorithme non admis",
    ),
    (
        "KEY_PACKET_NOT_COMMITTED",
        "L'empreinte du paquet de clé ne figure pas dans le descripteur de la pièce",
    ),
    (
        "KEY_PACKET_MISSING",
        "Une pièce, un scellé ou un destinataire n'a pas de paquet de clé",
    ),
    (
        "SEALING_NOT_ENCRYPTED_DATA",
        "Le scellé ne commence pas comme des données chiffrées de son profil",
    ),
    (
        "SEALING_LENGTH_DIFFERS",
        "Le scellé n'a pas la longueur que son descripteur annonce",
    ),
    (
        "SEALING_DIGEST_DIFFERS",
        "Le scellé n'a pas l'empreinte que son descripteur annonce",
    ),
    (
        "SEALING_MISSING",
        "Un scellé qu'un descripteur nomme n'est pas venu, ou est venu deux fois",
    ),
    ("NETWORK_WRONG", "Le message appartient à un autre réseau"),
    (
        "SENDER_NOT_CALLER",
        "L'expéditeur n'est pas l'institution à qui appartient la connexion",
    ),
    ("SENDER_UNKNOWN", "L'expéditeur ne figure pas dans l'annuaire"),
    (
        "SENDER_KEY_UNKNOWN",
        "La clé de l'expéditeur ne figure pas dans l'annuaire",
    ),
    (
        "CREATED_IN_FUTURE",
        "Le paquet est créé dans le futur : l'horloge de l'expéditeur avance",
    ),
    ("PACKET_EXPIRED", "Le paquet a expiré"),
    (
        "RECIPIENT_UNKNOWN",
        "Un destinataire ne figure pas dans l'annuaire",
    ),
    (
        "RECIPIENT_KEY_UNKNOWN",
        "La clé d'un destinataire ne figure pas dans l'annuaire",
    ),
    (
        "RECIPIENT_KEY_SUPERSEDED",
        "Cette clé d'un destinataire n'accepte plus de nouveaux scellés",
    ),
    (
        "RECIPIENT_NOT_READER",
        "L'ouverture est destinée à une autre institution",
    ),
    ("SIGNATURE_TOO_LONG", "La signature est plus longue que permis"),
    (
        "SIGNATURE_MALFORMED",
        "Ceci n'est pas exactement une signature OpenPGP binaire",
    ),
    (
        "SIGNATURE_TYPE_WRONG",
        "La signature n'est pas du type 0x00 (document binaire)",
    ),
    (
        "SIGNATURE_VERSION_WRONG",
        "La version de la signature n'est ni 4 ni 6, ou n'est pas celle de sa clé",
    ),
    (
        "SIGNATURE_HASH_REFUSED",
        "La signature emploie un algorithme de hachage non admis",
    ),
    (
        "SIGNATURE_ALGORITHM_REFUSED",
        "La signature emploie un algorithme non admis",
    ),
    (
        "SIGNATURE_SUBPACKET_REFUSED",
        "La signature porte un élément non admis",
    ),
    (
        "SIGNATURE_ISSUER_UNKNOWN",
        "La signature n'a pas été faite par une clé de ce certificat",
    ),
    (
        "SIGNATURE_IN_FUTURE",
        "La signature est faite dans le futur : l'horloge du signataire avance",
    ),
    ("SIGNATURE_EXPIRED", "La signature a expiré"),
    (
        "SIGNATURE_OUTSIDE_KEY_VALIDITY",
        "La signature a été faite quand sa clé n'était pas valable",
    ),
    ("SIGNATURE_BAD", "La signature ne correspond pas"),
    (
        "SIGNATURE_TIME_DIFFERS",
        "La signature a été faite à un autre moment que celui du message",
    ),
    ("PART_UNKNOWN", "Le paquet tel que remis n'a pas cette pièce"),
    (
        "SECRET_KEY_MISSING",
        "La clé secrète pour laquelle cette pièce est scellée n'est pas ici",
    ),
    ("SESSION_KEY_REFUSED", "La clé de session ne s'ouvre pas"),
    (
        "ENCRYPTED_DATA_MALFORMED",
        "Ceci n'est pas exactement un paquet de données chiffrées",
    ),
    (
        "ENCRYPTED_DATA_VERSION_WRONG",
        "Les données chiffrées ont une autre version que leur profil",
    ),
    (
        "ENCRYPTED_DATA_ALGORITHM_REFUSED",
        "Les données ne sont pas chiffrées par AES-256 (OCB dans le profil v6)",
    ),
    (
        "DECRYPTION_FAILED",
        "Les données chiffrées ont été modifiées ou endommagées",
    ),
    (
        "INNER_COMPRESSED",
        "Le chiffrement contient des données comprimées",
    ),
    ("INNER_ENCRYPTED", "Le chiffrement contient un autre chiffrement"),
    ("INNER_SIGNED", "Le chiffrement contient une signature"),
    (
        "INNER_NOT_LITERAL",
        "Le chiffrement contient autre chose que des données simples",
    ),
    (
        "INNER_SEVERAL",
        "Le chiffrement contient plus d'un paquet de données",
    ),
    (
        "LITERAL_NOT_PLAIN",
        "Les données ne sont pas binaires, ou portent un nom ou une date",
    ),
    ("TRAILING_DATA", "Quelque chose suit les données chiffrées"),
    (
        "HEADER_LENGTH_WRONG",
        "L'en-tête scellé manque, ou est plus long que permis",
    ),
    ("HEADER_MALFORMED", "L'en-tête scellé est illisible"),
    (
        "HEADER_DIFFERS",
        "L'en-tête scellé nomme un autre paquet, pièce, expéditeur ou réseau que le manifeste",
    ),
    (
        "HEADER_TEXT_REFUSED",
        "Un nom dans l'en-tête scellé est trop long ou contient des caractères de commande",
    ),
    (
        "CONTENT_LENGTH_WRONG",
        "Le contenu est vide, trop long, ou d'une autre longueur que celle de l'en-tête scellé",
    ),
    (
        "PADDING_WRONG",
        "Le texte n'est pas complété de zéros jusqu'à la plus petite taille qui convient",
    ),
    (
        "COMMITMENT_DIFFERS",
        "Ce qui est scellé n'est pas ce à quoi l'expéditeur s'est engagé",
    ),
    (
        "CIPHERTEXT_CHANGED",
        "Les données chiffrées conservées ont été modifiées ou endommagées",
    ),
    ("READ_FAILED", "Les données chiffrées n'ont pas pu être lues"),
    ("WRITE_FAILED", "Le résultat n'a pas pu être écrit"),
    (
        "CERTIFICATE_MALFORMED",
        "Ceci n'est pas exactement un certificat OpenPGP",
    ),
    (
        "CERTIFICATE_NOT_VALID",
        "Le certificat n'est pas valable à ce moment",
    ),
    (
        "NO_SIGNING_KEY",
        "Le certificat n'a pas de clé de signature valable",
    ),
    (
        "NO_SEALING_KEY",
        "Le certificat n'a pas de clé de chiffrement valable d'un algorithme admis",
    ),
    (
        "KEY_GENERATION_FAILED",
        "La clé n'a pas pu être faite : la bibliothèque cryptographique ne connaît pas l'algorithme",
    ),
    ("SIGNING_FAILED", "La signature n'a pas pu être faite"),
    ("SEALING_FAILED", "Le chiffrement a échoué"),
    (
        "CONTENT_READ_FAILED",
        "Le contenu n'a pas pu être lu, ou n'a pas la longueur annoncée",
    ),
    (
        "KEY_PACKETS_TOO_MANY",
        "Il y a plus de paquets de clé que de pièces fois destinataires",
    ),
    (
        "FRAMES_OUT_OF_ORDER",
        "Les éléments de l'envoi ne viennent pas dans leur ordre",
    ),
    (
        "CHUNK_OUT_OF_ORDER",
        "Les données chiffrées ne viennent pas complètes et dans leur ordre",
    ),
    (
        "PART_TOO_LONG",
        "Une pièce est plus longue que ce courtier n'accepte",
    ),
    ("UNKNOWN_IDENTITY", "Aucun membre n'a cette clé TLS"),
    (
        "PACKET_ID_REUSED",
        "Cet identifiant est déjà celui d'un autre paquet",
    ),
    ("DENIED", "Les règles refusent ce paquet à chaque destinataire"),
    ("DELIVERY_MALFORMED", "La livraison n'a pas la forme requise"),
    ("DELIVERY_TRUNCATED", "La livraison n'est pas venue en entier"),
    ("OWN_DECISION_DIFFERS", "Nos propres règles ne le livrent pas"),
    (
        "CHECKPOINT_OTHER_HISTORY",
        "L'expéditeur a vu une autre histoire du journal que celle qui nous a été montrée",
    ),
    (
        "LOG_FROZEN",
        "Le journal montre un point de contrôle au-delà de la fin d'une partie close : quelqu'un d'autre a la clé de cette partie",
    ),
    (
        "CHECKPOINT_UNKNOWN",
        "Le paquet nomme un point de contrôle qui n'est pas de ce journal",
    ),
    ("CASE_ERASED", "Ce dossier a été effacé"),
];

/// What to do, beside the English words for it.
pub(super) const REMEDIES: &[(&str, &str)] = &[
    (
        super::SENDER,
        "Le logiciel de l'expéditeur doit être corrigé ; ne le renvoyez pas tel quel.",
    ),
    (
        super::SEAL_ANEW,
        "Chargez l'annuaire et scellez le paquet à nouveau.",
    ),
    (
        super::KEEP,
        "Mettez le paquet à part, ne l'ouvrez pas autrement et prévenez l'expéditeur.",
    ),
    (
        super::KEYS,
        "Faites examiner ce certificat par le responsable des clés de l'institution.",
    ),
    (
        super::ORDER,
        "Envoyez l'en-tête, puis un paquet de clé par pièce et destinataire, puis les données dans l'ordre de l'en-tête.",
    ),
    (
        super::SHORTER,
        "Envoyez une pièce plus courte, ou demandez ses limites à l'exploitant du courtier.",
    ),
    (
        super::LIST,
        "Faites inscrire la clé dans l'annuaire par l'autorité du réseau.",
    ),
    (super::NEW_ID, "Donnez un nouvel identifiant à chaque paquet."),
    (
        super::REASONS,
        "Le code de chaque destinataire dit ce qui fait obstacle ; levez cet obstacle, puis scellez à nouveau.",
    ),
    (
        super::COMPARE,
        "Faites prouver le point de contrôle le plus récent contre celui qui a été vu ; si cela échoue, avertissez l'autorité du réseau.",
    ),
    (
        super::ERASED,
        "Rien n'y est plus ajouté ; ouvrez un nouveau dossier avec une nouvelle référence.",
    ),
    (
        super::DISTRUST,
        "Rien n'a été accepté. Prévenez l'autorité du réseau ; les deux côtés sont gardés comme preuve.",
    ),
];
