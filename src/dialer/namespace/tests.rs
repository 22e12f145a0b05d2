use super::*;

#[test]
fn listening_lines_are_read_in_both_families() {
    let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
    assert_eq!(listening_line(v4), Some(ListeningPort { address: Ipv4Addr::LOCALHOST.into(), port: 8080 }));
    let v6 = "   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0 0 0 1";
    assert_eq!(listening_line(v6), Some(ListeningPort { address: Ipv6Addr::LOCALHOST.into(), port: 3000 }));
    let connected = v4.replace(" 0A ", " 01 ");
    assert_eq!(listening_line(&connected), None);
    for odd in ["", "x", "0: zz:1F90 0:0 0A", "0: 01:1 0:0 0A"] {
        assert_eq!(listening_line(odd), None, "{odd}");
    }
}
