//! The caller's deadline, as gRPC's header has it.

use std::time::Duration;

use http::HeaderMap;

/// Of `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout"). One that cannot be read is none.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        asked(&headers)
    }

    #[test]
    fn every_unit_is_read_and_nonsense_is_no_deadline() {
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("30S"), Some(Duration::from_secs(30)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for nonsense in ["", "S", "1", "999999999S", "-1S", "+1S", "1s", "1.5S", "\u{20ac}"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
        assert_eq!(asked(&HeaderMap::new()), None);
    }
}
