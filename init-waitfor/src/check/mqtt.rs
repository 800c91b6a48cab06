//! `mqtt://[user:password@]host:port`: CONNECT and CONNACK of MQTT 3.1.1, which every broker speaks.
//! <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>

use super::Verdict;
use crate::target::Login;
use crate::wire::{Trouble, Wire};

pub(super) async fn talk(wire: &mut Wire, login: &Login, password: Option<&str>) -> Result<Verdict, Trouble> {
    wire.send(&connect(login.user.as_deref(), password)).await?;
    let answer = wire.take(4).await?;
    if answer[0] != 0x20 || answer[1] != 2 {
        return Err(Trouble::unknown("reply", "this is not MQTT"));
    }
    let said = match answer[3] {
        0 => {
            // A polite end: the broker need not report a lost client.
            let _ = wire.send(&[0xe0, 0]).await;
            return Ok(Verdict::ready("CONNACK"));
        }
        1 => Trouble::no("server", "CONNACK: the broker does not speak MQTT 3.1.1"),
        2 => Trouble::no("server", "CONNACK: client id refused"),
        3 => Trouble::no("starting", "CONNACK: server unavailable"),
        4 => Trouble::auth("CONNACK: bad user or password"),
        5 => Trouble::auth("CONNACK: not authorised"),
        other => Trouble::unknown("reply", format!("CONNACK: {other}")),
    };
    Err(said)
}

fn connect(user: Option<&str>, password: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, b"MQTT");
    // Clean session; a password needs a user in this version.
    let with_password = user.is_some() && password.is_some();
    body.extend([4, 2 | u8::from(user.is_some()) << 7 | u8::from(with_password) << 6, 0, 10]);
    // An empty client id asks for one.
    put(&mut body, b"");
    if let Some(user) = user {
        put(&mut body, user.as_bytes());
    }
    if let (Some(password), true) = (password, with_password) {
        put(&mut body, password.as_bytes());
    }
    let mut packet = vec![0x10];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // Longer than 64 KiB is no user or password; what is cut off makes the login fail, which is right.
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(&bytes[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_as_the_specification_shows_them() {
        assert_eq!(connect(None, None), [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 0]);
        let full = connect(Some("u"), Some("p"));
        assert_eq!(full[9], 0xc2);
        assert_eq!(&full[14..], [0, 1, b'u', 0, 1, b'p']);
        assert_eq!(connect(Some(&"u".repeat(200)), None)[1..3], [0xd6, 0x01]);
    }
}
