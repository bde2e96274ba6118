//! Messages that an agency signs and that are not packets or statements: acknowledgements and recalls.
//! One check for both: canonical bytes, type, network, the caller itself, a current key, its signature.

use prost::Message;
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire;

use crate::roles::Caller;
use crate::state::State;

/// Longest message of this kind.
const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// What all of them say.
pub trait AgencyMessage: Message + Default {
    /// The type that the first field must name.
    const TYPE: &'static str;

    /// Type, network, agency, fingerprint of the agency's certificate, and when it was made.
    fn head(&self) -> (&str, &str, &str, &[u8], i64);
}

impl AgencyMessage for wire::Acknowledgement {
    const TYPE: &'static str = "schakel.v1.Acknowledgement";

    fn head(&self) -> (&str, &str, &str, &[u8], i64) {
        (
            &self.r#type,
            &self.network,
            &self.recipient,
            &self.recipient_key,
            self.made_ms,
        )
    }
}

impl AgencyMessage for wire::Recall {
    const TYPE: &'static str = "schakel.v1.Recall";

    fn head(&self) -> (&str, &str, &str, &[u8], i64) {
        (
            &self.r#type,
            &self.network,
            &self.sender,
            &self.sender_key,
            self.made_ms,
        )
    }
}

/// A message that the calling agency signed with a current key.
pub struct Authentic<M> {
    message: M,
    signed: wire::Signed,
}

impl<M: AgencyMessage> Authentic<M> {
    /// Checks everything that these messages have in common.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(state: &State, caller: &Caller, signed: wire::Signed) -> Result<Self, Refusal> {
        if signed.bytes.len() > MESSAGE_MAX_BYTES || signed.signature.len() > limits::SIGNATURE_MAX_BYTES {
            return Err(malformed::<M>("is too long"));
        }
        let message = M::decode(signed.bytes.as_ref()).map_err(|_| malformed::<M>("does not decode"))?;
        if message.encode_to_vec() != signed.bytes {
            return Err(malformed::<M>("is not in canonical form"));
        }
        let (kind, network, agency, key, made) = message.head();
        if kind != M::TYPE || network != state.network.as_str() {
            return Err(malformed::<M>("is of another type or network"));
        }
        if agency != caller.agency().as_str() {
            let sentence = "It names another agency than the connection belongs to";
            let remedy = "Only the agency itself hands in what it signs.";
            return Err(Refusal::new(Fault::Forbidden, "SENDER_NOT_CALLER", sentence, remedy).at(M::TYPE));
        }
        let now = state.clock.now();
        if made > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS).millis() || made < 0 {
            let sentence = "It was made in the future: the clock of the machine that signed it is ahead";
            let remedy = "Set that machine's clock, then sign anew.";
            return Err(Refusal::new(Fault::Invalid, "SIGNATURE_IN_FUTURE", sentence, remedy).at(M::TYPE));
        }
        let key = Fingerprint::try_from(key).map_err(|_| malformed::<M>("names no key"))?;
        let keys = caller
            .directory()
            .agency(caller.agency())
            .and_then(|agency| agency.signing_keys(&key));
        let keys = keys.ok_or_else(|| {
            let sentence = "The key that signed it is not a current one of the agency";
            let remedy = "Sign with a key that the directory lists for the agency.";
            Refusal::new(Fault::Forbidden, "SENDER_KEY_UNKNOWN", sentence, remedy).at(M::TYPE)
        })?;
        keys.verify(&signed.bytes, &signed.signature, now)
            .map_err(schakel_proto::defect::PacketError::from)?;
        Ok(Self { message, signed })
    }

    /// What it says.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// The bytes that were signed, and the signature.
    pub fn signed(&self) -> &wire::Signed {
        &self.signed
    }
}

/// A message of this kind that does not have its form.
pub fn malformed<M: AgencyMessage>(what: &'static str) -> Refusal {
    let sentence = format!("The message {what}");
    let remedy = "Make it as docs/format/packet.md says, and sign anew.";
    Refusal::new(Fault::Invalid, "MESSAGE_MALFORMED", sentence, remedy).at(M::TYPE)
}

/// A reason code: 0 to 48 letters, digits, `_` and `-`; safe for logs and other parties' screens.
pub fn reason<M: AgencyMessage>(text: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.len() <= 48 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(malformed::<M>("has a reason that is not a code"))
    }
}
