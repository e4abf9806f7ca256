//! The wire format of protocol buffers: numbered fields of integers and bytes.

/// A value in the wire format of protocol buffers.
pub(super) enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The bytes of the fields of this number in a message.
pub(super) fn inside<'a>(message: &'a [u8], number: u64) -> Option<impl Iterator<Item = &'a [u8]>> {
    let bytes = move |(field, wire): (u64, Wire<'a>)| match wire {
        Wire::Bytes(bytes) if field == number => Some(bytes),
        _ => None,
    };
    Some(fields(message)?.into_iter().filter_map(bytes))
}

/// The fields of a message with their numbers; `None` if it is corrupt.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut fields = vec![];
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut message)?),
            1 => Wire::Bytes(take(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                Wire::Bytes(take(&mut message, length)?)
            }
            5 => Wire::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        fields.push((tag >> 3, wire));
    }
    Some(fields)
}

pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}
