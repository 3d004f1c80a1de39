//! The ASN.1 that PFX files and PKCS#8 keys share. It is read as BER, because BouncyCastle and NSS write indefinite
//! lengths (`bcder` reads them without recursion and allocates only what is present).

use std::convert::Infallible;

use bcder::{
    Mode, OctetString, Oid,
    decode::{Constructed, Content, SliceSource, Source},
};
pub(super) use bcder::{Tag, decode::DecodeError};

pub(super) type Value<'a, 'b> = Constructed<'a, SliceSource<'b>>;
pub(super) type Parsed<T> = Result<T, DecodeError<Infallible>>;

/// Reads the value at the start of `content`. Bytes after it are ignored.
pub(super) fn parse<T>(content: &[u8], read: impl FnOnce(&mut Value<'_, '_>) -> Parsed<T>) -> Parsed<T> {
    Mode::Ber.decode(SliceSource::new(content), read)
}

/// Returns the length of the element at the start of `content`.
pub(super) fn first_element(content: &[u8]) -> Option<usize> {
    parse(content, |value| Ok(value.capture_one()?.as_slice().len())).ok()
}

/// Skips the rest of a value. (`skip_all` treats the end of a value of indefinite length as an error.)
pub(super) fn skip_rest<S: Source>(value: &mut Constructed<'_, S>) -> Result<(), DecodeError<S::Error>> {
    while value.skip_opt(|_, _, _| Ok(()))?.is_some() {}
    Ok(())
}

/// Reads an OCTET STRING, in one or several pieces.
pub(super) fn octets(value: &mut Value<'_, '_>) -> Parsed<Vec<u8>> {
    value.take_value_if(Tag::OCTET_STRING, pieces)
}

/// Reads the same under a context-specific tag.
pub(super) fn pieces(content: &mut Content<'_, SliceSource<'_>>) -> Parsed<Vec<u8>> {
    Ok(OctetString::from_content(content)?.to_bytes().to_vec())
}

/// Reads an object identifier in its dotted form.
pub(super) fn object_id(value: &mut Value<'_, '_>) -> Parsed<String> {
    Ok(Oid::take_from(value)?.to_string())
}

/// Reads a count. A negative one, or one beyond 64 bits, is larger than any limit.
pub(super) fn count(value: &mut Value<'_, '_>) -> Parsed<u64> {
    Ok(optional_count(value)?.unwrap_or(u64::MAX))
}

pub(super) fn optional_count(value: &mut Value<'_, '_>) -> Parsed<Option<u64>> {
    value.take_opt_primitive_if(Tag::INTEGER, |number| {
        number.with_slice_all(|bytes| {
            let digits = bytes.iter().skip_while(|byte| **byte == 0);
            let is_small = bytes.first().is_some_and(|first| *first < 0x80) && digits.clone().count() <= 8;
            Ok::<u64, &str>(if is_small {
                digits.fold(0, |number, digit| number << 8 | u64::from(*digit))
            } else {
                u64::MAX
            })
        })
    })
}

/// The `AlgorithmIdentifier`.
pub(super) struct Algorithm {
    pub(super) id: String,
    /// The encoded parameters; empty if they are absent.
    pub(super) parameters: Vec<u8>,
}

impl Algorithm {
    pub(super) fn take(value: &mut Value<'_, '_>) -> Parsed<Algorithm> {
        value.take_sequence(Algorithm::content)
    }

    pub(super) fn take_optional(value: &mut Value<'_, '_>) -> Parsed<Option<Algorithm>> {
        value.take_opt_sequence(Algorithm::content)
    }

    fn content(value: &mut Value<'_, '_>) -> Parsed<Algorithm> {
        let id = object_id(value)?;
        let parameters = value.capture(|rest| {
            skip_rest(rest)?;
            Ok(())
        })?;
        Ok(Algorithm { id, parameters: parameters.as_slice().to_vec() })
    }
}
