//! Any bytes as what a connection begins with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::FutureExt;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Request};
use logic::config::ProxyOptions;
use ports::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::asked::join_cookies;
use super::headers::{Sender, copy_end_to_end, forwarded_for, strip_hop_by_hop, upgrade};
use super::proxy_header::{self, Unread};

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), 4_711);

/// A PROXY header, and the lines of a request's head.
pub fn heads(data: &[u8]) {
    let rest = proxy_line(data);
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let at = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(at.unwrap_or(line.len()));
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    passed_on(headers);
}

/// What follows the line, if there is one. It is taken from the connection, and nothing else.
fn proxy_line(data: &[u8]) -> &[u8] {
    let connection = |data: &[u8]| -> Box<dyn Stream> {
        let (mut near, far) = tokio::io::duplex(data.len().max(1));
        let written = near.write_all(data).now_or_never();
        assert!(matches!(written, Some(Ok(()))), "it has room for all");
        Box::new(far)
    };
    let mut stream = connection(data);
    let read = proxy_header::read(&mut stream).now_or_never();
    let Some(Ok(client)) = read else {
        return data;
    };
    let end = data.windows(2).position(|pair| pair == b"\r\n");
    let rest = &data[end.map_or(data.len(), |end| end + 2)..];
    if let Some(client) = client {
        let line = proxy_header::written(client, client);
        let mut again = connection(line.as_bytes());
        let again = proxy_header::read(&mut again).now_or_never();
        let canonical = SocketAddr::new(client.ip().to_canonical(), client.port());
        assert_eq!(again, Some(Ok(Some(canonical))), "{line}");
    }
    let mut unread = Unread::new(data[..data.len() - rest.len()].to_vec(), stream);
    let mut whole = Vec::new();
    let reading = unread.read_to_end(&mut whole).now_or_never();
    assert!(matches!(reading, Some(Ok(_))), "{reading:?}");
    assert_eq!(whole, data, "nothing is lost");
    rest
}

fn passed_on(mut headers: HeaderMap) {
    join_cookies(&mut headers);
    assert!(headers.get_all("cookie").iter().count() <= 1);
    let asks = upgrade(&headers).is_some();
    assert!(!asks || headers.contains_key("upgrade"));
    let (mut copied, mut stripped) = (HeaderMap::new(), headers.clone());
    copy_end_to_end(&headers, &mut copied);
    strip_hop_by_hop(&mut stripped);
    stripped.remove("host");
    assert_eq!(copied, stripped, "two ways to the same");
    for gone in [
        "connection",
        "upgrade",
        "transfer-encoding",
        "te",
        "keep-alive",
    ] {
        assert!(!copied.contains_key(gone), "{gone}");
    }
    assert_eq!(copied.get("content-length"), headers.get("content-length"));
    let before = forwarded_for(&headers).count();
    assert_eq!(
        forwarded_for(&copied).count(),
        before,
        "they can't be taken away"
    );
    let host = headers.get("host").cloned();
    let host = host.unwrap_or(HeaderValue::from_static("site.example"));
    let mut head = Request::new(()).into_parts().0;
    head.headers = headers;
    let sender = Sender::new(CLIENT, None, None, &ProxyOptions::default());
    sender.introduce(&head, &host, &mut copied);
    assert_eq!(forwarded_for(&copied).last(), Some(CLIENT.ip()));
    assert_eq!(copied.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(forwarded_for(&copied).count(), before + 1);
    assert!(copied.contains_key("forwarded"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_isnt_text_hides_no_address() {
        let mut headers = HeaderMap::new();
        let told = HeaderValue::from_bytes(b"\xff, 10.9.9.9").expect("bytes");
        headers.insert("x-forwarded-for", told);
        let found: Vec<IpAddr> = forwarded_for(&headers).collect();
        assert_eq!(found, [IpAddr::from([10, 9, 9, 9])]);
        heads(b"X-Forwarded-For: \xff\r\nX-Forwarded-For: 10.9.9.9\r\n");
    }
}
