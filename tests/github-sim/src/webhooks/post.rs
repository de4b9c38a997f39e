//! One request by HTTP/1.1, without encryption: receivers under test are on this machine.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::WebhookError;

/// More of an answer is not read.
const ANSWER: u64 = 64 << 10;

/// Where deliveries are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `HOST:PORT`.
    address: String,
    path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, WebhookError> {
        let wrong = || WebhookError::Url(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let readable = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if address.is_empty() || !readable(rest) {
            return Err(wrong());
        }
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            address: if has_port {
                address.to_owned()
            } else {
                format!("{address}:80")
            },
            path: format!("/{path}"),
        })
    }

    /// The answer's status.
    pub(super) async fn post(&self, headers: &[(&str, String)], body: &[u8]) -> io::Result<u16> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.path,
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        // One that is refused may be answered before it is read.
        let sent = stream.write_all(&request).await;
        let mut answer = Vec::new();
        let read = stream.take(ANSWER).read_to_end(&mut answer).await;
        let status = status(&answer);
        match status {
            Some(status) => Ok(status),
            None => Err(sent.and(read.map(drop)).err().unwrap_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the answer has no status")
            })),
        }
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        let target = Target::parse("http://127.0.0.1:8080/webhooks").unwrap();
        assert_eq!(
            (target.address.as_str(), target.path.as_str()),
            ("127.0.0.1:8080", "/webhooks")
        );
        assert_eq!(
            Target::parse("http://localhost").unwrap().address,
            "localhost:80"
        );
        for wrong in [
            "https://example.org/",
            "127.0.0.1:80",
            "http:///x",
            "http://a b/",
            "http://h/\r\nx",
        ] {
            assert_eq!(
                Target::parse(wrong),
                Err(WebhookError::Url(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn a_status_is_read_off_its_line() {
        assert_eq!(
            status(b"HTTP/1.1 202 Accepted\r\ndate: x\r\n\r\n"),
            Some(202)
        );
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"220 smtp\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
