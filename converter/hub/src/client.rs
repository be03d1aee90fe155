//! Requests to the hub and to the servers to which it redirects.

use std::io::Read;
use std::path::PathBuf;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::HeaderMap;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use crate::error::{Error, Result};
use crate::settings::Settings;

/// Number of redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;
/// Length in bytes of the longest file of certificates.
const MAX_CERTIFICATES: u64 = 16 << 20;
/// Length in bytes of the longest explanation that is read from an answer.
const MAX_SAID: u64 = 4096;
/// Number of characters of the server's explanation that an error shows.
const SHOWN: usize = 200;

/// A client of one hub, for one repository.
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// The address that errors name.
    address: String,
    cache: PathBuf,
}

/// What is asked of a URL.
#[derive(Clone, Copy)]
pub enum Request {
    /// The headers alone, of the first answer that has the hash of a large file or redirects no further.
    Head,
    /// The contents from this byte on.
    Get {
        /// Number of bytes that are left out.
        from: u64,
    },
}

/// An answer, after redirects.
pub struct Answer {
    /// The server that gave it.
    pub host: String,
    /// The answer itself.
    pub response: http::Response<Body>,
}

impl Answer {
    /// Returns the text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.response.headers(), name)
    }
}

impl Client {
    /// Creates a client that asks the hub of `settings` about `address`.
    ///
    /// # Errors
    /// Returns an error where the file of certificates cannot be used.
    pub fn new(settings: &Settings, address: String) -> Result<Self> {
        let mut config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("resmlp/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(settings.silence))
            .timeout_connect(Some(settings.silence))
            .timeout_per_read(Some(settings.silence))
            .timeout_per_write(Some(settings.silence))
            .tls_config(tls(settings)?);
        if is_loopback(&settings.endpoint) {
            // A proxy reaches another machine than this one.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().into(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            address,
            cache: settings.cache.clone(),
        })
    }

    /// Returns the address that errors name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks for `path` of the hub, follows redirects, and returns the first answer that is a success. `asked` says in
    /// words what is asked for.
    ///
    /// The token goes to the hub alone: a server to which the hub redirects does not see it.
    ///
    /// # Errors
    /// Returns an error where a server does not answer, refuses, or redirects without end.
    pub fn ask(&self, request: Request, path: &str, asked: &str) -> Result<Answer> {
        let mut uri: Uri = self.parse(&format!("{}{path}", self.endpoint))?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(request, &uri)?;
            let is_large_file = answer.header("x-linked-etag").is_some() && answer.header("x-linked-size").is_some();
            let status = answer.response.status();
            match answer.header("location").filter(|_| status.is_redirection()) {
                Some(_) if matches!(request, Request::Head) && is_large_file => return Ok(answer),
                Some(location) => uri = self.redirected(&uri, location)?,
                None if status.is_success() => return Ok(answer),
                None => return Err(self.refused(answer, asked)),
            }
        }
        Err(self.answer_error(&uri, "redirects without end", "at most 10 redirects"))
    }

    /// Creates an error about an answer that does not follow the protocol.
    pub fn wrong(&self, host: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
        let (address, host) = (self.address.clone(), host.to_owned());
        Error::Answer { address, host, found: found.into(), expected: expected.into() }
    }

    fn answer_error(&self, uri: &Uri, found: &str, expected: &str) -> Error {
        self.wrong(uri.host().unwrap_or_default(), found, expected)
    }

    fn send(&self, request: Request, uri: &Uri) -> Result<Answer> {
        let builder = match request {
            Request::Head => self.agent.head(uri),
            Request::Get { from: 0 } => self.agent.get(uri),
            Request::Get { from } => self.agent.get(uri).header("range", format!("bytes={from}-")),
        };
        let hub: Uri = self.parse(&self.endpoint)?;
        let is_hub = (uri.scheme(), uri.authority()) == (hub.scheme(), hub.authority());
        let builder = match &self.token {
            Some(token) if is_hub => builder.header("authorization", format!("Bearer {token}")),
            _ => builder,
        };
        let host = uri.host().unwrap_or_default().to_owned();
        match builder.call() {
            Ok(response) => Ok(Answer { host, response }),
            Err(error) => {
                let mut reason = error.to_string();
                if reason.contains("certificate") {
                    reason += "; SSL_CERT_FILE can name certificates to trust, such as those of a proxy";
                }
                let (address, cache) = (self.address.clone(), self.cache.clone());
                Err(Error::Unreachable { address, host, reason, cache })
            }
        }
    }

    fn parse(&self, text: &str) -> Result<Uri> {
        text.parse().map_err(|_| self.wrong(&self.endpoint, format!("leads to {text}"), "an address of the web"))
    }

    /// Returns the address to which `location` leads from `uri`.
    fn redirected(&self, uri: &Uri, location: &str) -> Result<Uri> {
        let refuse = || {
            let shown: String = location.chars().take(SHOWN).collect();
            self.answer_error(uri, &format!("redirects to {shown}"), "an address that is as safe as the one before")
        };
        let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        let absolute = match location {
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
            _ => location.to_owned(),
        };
        let target: Uri = absolute.parse().map_err(|_| refuse())?;
        match (scheme, target.scheme_str()) {
            ("http", Some("http" | "https")) | ("https", Some("https")) if target.host().is_some() => Ok(target),
            _ => Err(refuse()),
        }
    }

    /// Makes an answer that is no success an error with advice.
    fn refused(&self, answer: Answer, asked: &str) -> Error {
        let code = answer.header("x-error-code").unwrap_or_default().to_owned();
        let header = answer.header("x-error-message").map(str::to_owned);
        let Answer { host, response } = answer;
        let status = response.status().as_u16();
        let said = header.or_else(|| said(response.into_body())).map_or(String::new(), |said| {
            let shown: String = said.chars().take(SHOWN).collect();
            format!(" (\"{shown}\")")
        });
        let advice = self.advice(status, &code);
        let answer = format!("{host} answers {status} to {asked}{said}");
        Error::Refused { address: self.address.clone(), status, answer, advice }
    }

    fn advice(&self, status: u16, code: &str) -> String {
        let repository = self.address.trim_start_matches("hf:").split('@').next().unwrap_or_default();
        let page = format!("{}/{repository}", self.endpoint);
        match (status, code) {
            (401, _) if self.token.is_some() => {
                "check the spelling of the repository; if it is right, the token in HF_TOKEN or in the token file is not \
                 valid, or has no right to read it"
                    .into()
            }
            (401, _) => {
                "check the spelling of the repository; if it is private or asks you to accept a licence, set HF_TOKEN to a \
                 token from the settings of your account"
                    .into()
            }
            (403, _) => format!("open {page}, accept its licence there, and set HF_TOKEN to a token of the same account"),
            (404, "RevisionNotFound") => {
                format!("check the spelling of the revision after the @; {page} lists branches, tags and commits")
            }
            (404, "EntryNotFound") => format!("{page} lists the files of the repository"),
            (404, _) => "check the spelling of owner, name and revision".into(),
            (429, _) => "wait some minutes and try again; with HF_TOKEN set, more requests are allowed".into(),
            (500.., _) => "the server is in trouble; try again later, or set HF_ENDPOINT to a mirror".into(),
            _ => "check that HF_ENDPOINT is the address of a model hub".into(),
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the explanation in the body of an answer: the field `error` of a JSON object.
fn said(body: Body) -> Option<String> {
    let mut text = Vec::new();
    body.into_reader().take(MAX_SAID).read_to_end(&mut text).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
    json["error"].as_str().map(str::to_owned)
}

/// Returns the settings of TLS: the built-in certificates, or those in the user's file.
fn tls(settings: &Settings) -> Result<TlsConfig> {
    let Some(path) = &settings.certificates else { return Ok(TlsConfig::default()) };
    let bytes = resmlp_files::read(path, MAX_CERTIFICATES).map_err(Error::io(path))?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::Variable {
            name: "SSL_CERT_FILE",
            found: format!("is {}, which has no certificate", path.display()),
            expected: "a file of certificates in PEM",
        });
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
}

fn is_loopback(endpoint: &str) -> bool {
    let uri: Option<Uri> = endpoint.parse().ok();
    uri.and_then(|uri| uri.host().map(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]"))
        .unwrap_or(false)
}
