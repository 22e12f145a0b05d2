//! Numbers and addresses as text, several for each request: without the formatter, whose generality costs more than the digits.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

pub fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // The remainder is below ten.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

pub fn put_address(out: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (i, part) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.put_u8(b'.');
                }
                put_decimal(out, u64::from(part));
            }
        }
        IpAddr::V6(v6) => out.put_slice(v6.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_write_what_the_formatter_writes() {
        for number in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = BytesMut::new();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for address in ["0.0.0.0", "192.0.2.19", "255.255.255.255", "::1", "2001:db8::a:0:1"] {
            let mut out = BytesMut::new();
            put_address(&mut out, address.parse().expect("address"));
            assert_eq!(out, address.as_bytes());
        }
    }
}
