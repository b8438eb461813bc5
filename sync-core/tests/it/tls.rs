//! TLS over real sockets, with certificates made for each test.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::live_support::*;
use crate::tls_support::{Authority, Flaw, lines};
use sync_core::config::{Config, TlsFiles};
use sync_core::embedding::{EmbedError, RetryPolicy};
use sync_core::envelope::MasterKey;
use sync_core::host_sync::operation::{Outcome, TlsFault, TransportError};
use sync_core::id::AccountId;
use sync_core::limits;
use sync_core::runtime::driver::host::{Host, configured};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::embedding::EmbeddingClient;
use sync_core::runtime::facade::P2pDataSync;
use sync_core::runtime::http::HttpClient;
use sync_core::runtime::main_server::{MainServer, Parts, connect_provider};
use sync_core::runtime::sync_proxy::SyncProxy;
use sync_core::runtime::tls::{Identity, Trust};
use sync_core::wire::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

async fn embedded(more: &str) -> MainServer {
    start(more, EmbeddedDatabase::default(), EmbeddedCache::default()).await
}

fn trust(authority: &Authority) -> Trust {
    Trust::with_file("tls_ca_file", Some(&authority.file())).unwrap()
}

fn client_of(address: &str, trust: &Trust) -> HttpClient {
    HttpClient::trusting(&address.parse().unwrap(), trust).unwrap()
}

fn host_config(address: &str, more: &str) -> Config {
    let key = MASTER.parse::<MasterKey>().unwrap().host_key(AccountId(7)).to_text();
    let text =
        format!("role = host\nmain_server_endpoint = {address}\nencryption_key = {}\n{more}\n", key.expose());
    Config::parse("test", text.as_bytes()).unwrap().0
}

fn host_at(address: &str, authority: &Authority) -> Host {
    let more = format!("tls_ca_file = {}\nhost_batch_max = 8", authority.file().display());
    configured::start(&host_config(address, &more)).unwrap()
}

#[test]
fn hosts_health_and_figures_go_over_tls() {
    run(async {
        let authority = Authority::new();
        let server = embedded(&lines(&authority.issue(Flaw::None))).await;
        let port = server.address().port();
        for name in ["localhost", "127.0.0.1"] {
            let host = host_at(&format!("https://{name}:{port}/p2p-sync"), &authority);
            let state = format!("{name:?}");
            assert_eq!(write(&host, 1, &state).await, Outcome::Done(None));
            assert!(matches!(read(&host, 2).await, Outcome::Done(Some(read)) if read.contains(name)));
        }
        let trust = trust(&authority);
        for (path, says) in [("/healthz", "\"status\":\"ok\""), ("/metrics", "# TYPE")] {
            let client = client_of(&format!("https://localhost:{port}{path}"), &trust);
            let (status, body) = client.fetch(PATIENCE).await.unwrap();
            assert_eq!(status, 200);
            assert!(String::from_utf8(body).unwrap().contains(says), "{path}");
        }
    });
}

#[test]
fn plain_http_to_a_port_with_tls_is_told_so() {
    run(async {
        let authority = Authority::new();
        let server = embedded(&lines(&authority.issue(Flaw::None))).await;
        let (_, body) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, "{}");
        // Larger than what a socket takes at once: the answer must arrive although nobody reads the request.
        for body in [body, vec![b'x'; 200_000]] {
            let answer = client(&server).exchange(body, PATIENCE).await;
            assert_eq!(answer.unwrap_err().error, TransportError::Status(400));
        }
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, said) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", said.len())), "{answer}");
        assert!(said.contains("use https://"), "{answer}");
        // Nothing of this went to the engines.
        assert_eq!(server.shutdown().await.counters.requests, 0);
    });
}

#[test]
fn a_certificate_that_is_not_good_is_refused_and_told_why() {
    run(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let refused = async |authority: &Authority, flaw, trust: &Trust| {
            let server = embedded(&lines(&authority.issue(flaw))).await;
            let told = Arc::new(Mutex::new(Vec::new()));
            let client = client_of(&format!("https://127.0.0.1:{}/p2p-sync", server.address().port()), trust)
                .reporting({
                    let told = Arc::clone(&told);
                    move |fault| told.lock().unwrap().push(fault)
                });
            let (_, body) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, "{}");
            let outcomes =
                [client.exchange(body.clone(), PATIENCE).await, client.exchange(body, PATIENCE).await];
            let faults = outcomes.map(|outcome| match outcome {
                Err(failure) => match failure.error {
                    TransportError::Tls(fault) => Some(fault),
                    other => panic!("{other}"),
                },
                Ok(_) => None,
            });
            assert_eq!(faults[0], faults[1]);
            assert_eq!(*told.lock().unwrap(), faults[0].map(Some).into_iter().collect::<Vec<_>>(), "once");
            let requests = server.shutdown().await.counters.requests;
            assert_eq!(requests, if faults[0].is_none() { 2 } else { 0 });
            faults[0]
        };
        let trust = trust(&authority);
        assert_eq!(refused(&authority, Flaw::None, &trust).await, None);
        for stranger in [stranger, Authority::named("another one")] {
            assert_eq!(refused(&stranger, Flaw::None, &trust).await, Some(TlsFault::UnknownAuthority));
        }
        assert_eq!(refused(&authority, Flaw::Expired, &trust).await, Some(TlsFault::Expired));
        assert_eq!(refused(&authority, Flaw::NotYetValid, &trust).await, Some(TlsFault::NotYetValid));
        assert_eq!(refused(&authority, Flaw::WrongName, &trust).await, Some(TlsFault::WrongName));
        assert_eq!(refused(&authority, Flaw::Authority, &trust).await, Some(TlsFault::Unusable));
        // And where no TLS is spoken at all.
        let plain = embedded("").await;
        let client = client_of(&format!("https://{}/p2p-sync", plain.address()), &trust);
        let error = client.fetch(PATIENCE).await.unwrap_err().error;
        assert_eq!(error, TransportError::Tls(TlsFault::NotTls));
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    });
}

#[test]
fn a_host_ends_its_operations_with_the_reason_and_goes_on_when_it_is_gone() {
    run(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let server = embedded(&lines(&stranger.issue(Flaw::None))).await;
        let address = format!("https://{}/p2p-sync", server.address());
        let host = host_at(&address, &authority);
        let expected = Outcome::Failed(TransportError::Tls(TlsFault::UnknownAuthority));
        assert_eq!(write(&host, 1, "1").await, expected);
        server.shutdown().await;
        let listen = address.trim_start_matches("https://").trim_end_matches("/p2p-sync").parse().unwrap();
        let config = server_config(&lines(&authority.issue(Flaw::None)));
        let parts = Parts::new(EmbeddedDatabase::default(), EmbeddedCache::default());
        let _server = MainServer::start(&config, listen, parts).await.unwrap();
        assert_eq!(write(&host, 2, "2").await, Outcome::Done(None));
    });
}

#[test]
fn a_connection_that_begins_with_nothing_holds_up_nobody() {
    run(async {
        let authority = Authority::new();
        let server = embedded(&lines(&authority.issue(Flaw::None))).await;
        let mut silent = TcpStream::connect(server.address()).await.unwrap();
        let host = host_at(&format!("https://{}/p2p-sync", server.address()), &authority);
        assert_eq!(write(&host, 1, "1").await, Outcome::Done(None));
        server.shutdown().await;
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "it is closed with the server");
    });
}

#[test]
fn a_sync_proxy_speaks_tls_on_both_sides() {
    run(async {
        let (inside, outside) = (Authority::new(), Authority::new());
        let server = embedded(&lines(&inside.issue(Flaw::None))).await;
        let upstream = client_of(&format!("https://{}/p2p-sync", server.address()), &trust(&inside));
        let identity = Identity::read(&outside.issue(Flaw::None)).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let proxy = SyncProxy::start_with(upstream, "/sync", listen, Some(identity)).await.unwrap();
        let host = host_at(&format!("https://{}/sync", proxy.address()), &outside);
        assert_eq!(write(&host, 1, "1").await, Outcome::Done(None));
        assert_eq!(read(&host, 2).await, payload(1, "1"));
        // Hosts learn nothing of why the main server is not believed.
        let blind = client_of(&format!("https://{}/p2p-sync", server.address()), &trust(&outside));
        let proxy = SyncProxy::start_with(blind, "/sync", listen, None).await.unwrap();
        let (_, body) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, "{}");
        let address = format!("http://{}/sync", proxy.address()).parse().unwrap();
        let answer = HttpClient::new(&address).unwrap().exchange(body, PATIENCE).await;
        assert_eq!(answer.unwrap_err().error, TransportError::Status(502));
    });
}

/// Answers every request with one vector, over TLS.
async fn provider(files: &TlsFiles) -> String {
    let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.private_key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let vector = vec![0.5; limits::EMBEDDING_DIMENSIONS];
    let body = serde_json::json!({ "data": [{ "index": 0, "embedding": vector }] }).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 16 * 1024];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    format!("https://localhost:{}/v1", address.port())
}

#[test]
fn a_provider_is_asked_over_tls_and_its_certificate_is_judged() {
    run(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let address = provider(&authority.issue(Flaw::None)).await;
        let config = server_config(&format!(
            "openai_api_key = canary\nopenai_endpoint = {address}\ntls_ca_file = {}",
            authority.file().display()
        ));
        let texts: Vec<Arc<str>> = vec!["text".into()];
        let embedder = connect_provider(&config, |fault| panic!("{fault:?}")).unwrap().unwrap();
        assert_eq!(embedder.embed(Arc::new(texts.clone())).await.unwrap().len(), 1);

        let told = Arc::new(Mutex::new(Vec::new()));
        let client =
            EmbeddingClient::trusting(config.embedding.provider().unwrap().into(), &trust(&stranger))
                .unwrap()
                .with_policy(RetryPolicy { attempts_max: 2, ..RetryPolicy::default() })
                .reporting({
                    let told = Arc::clone(&told);
                    move |fault| told.lock().unwrap().push(fault)
                });
        assert_eq!(client.embed(&texts).await, Err(EmbedError::Unavailable));
        assert_eq!(*told.lock().unwrap(), [Some(TlsFault::UnknownAuthority)]);
    });
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_remedy() {
    let authority = Authority::new();
    let (good, other) = (authority.issue(Flaw::None), authority.issue(Flaw::None));
    let secret = fs::read_to_string(&good.private_key).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    let certificate = fs::read_to_string(&good.certificate).unwrap();
    let file = |name: &str, text: &str| authority.write(name, text);
    let missing = authority.file().with_file_name("missing.pem");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let unusable = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", "AAAA".repeat(9));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let check = |certificate: &Path, private_key: &Path, setting: &str, said: &str| {
        let files = TlsFiles { certificate: certificate.to_owned(), private_key: private_key.to_owned() };
        let config = format!("role = main_server\nencryption_key = {MASTER}\n{}\n", lines(&files));
        let mut child = Command::new(env!("CARGO_BIN_EXE_main-server"))
            .args(["serve", "--config", "-", "--embedded", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("`{setting}`: ")) && text.contains(said), "{said}: {text}");
        assert!(!text.contains(secret), "{text}");
    };
    let (of_chain, of_key) = ("tls_certificate_file", "tls_private_key_file");
    check(&missing, &good.private_key, of_chain, "name a file that is there");
    check(&authority.write("empty.pem", ""), &good.private_key, of_chain, "holds no certificate");
    check(&good.private_key, &good.private_key, of_chain, "holds no certificate");
    check(&file("damaged.pem", damaged), &good.private_key, of_chain, "certificate 1 in it is damaged");
    let cut = certificate.replace("-----END", "#");
    check(&file("cut.pem", &cut), &good.private_key, of_chain, "damaged");
    check(&file("large.pem", &"x".repeat(1 << 21)), &good.private_key, of_chain, "larger than 1 MiB");
    check(&good.certificate, &missing, of_key, "name a file that is there");
    check(&good.certificate, &good.certificate, of_key, "holds no private key");
    check(&good.certificate, &file("encrypted.pem", encrypted), of_key, "openssl pkey");
    check(&good.certificate, &file("unusable.pem", &unusable), of_key, "cannot be used");
    check(&good.certificate, &other.private_key, of_key, "not that of the certificate");
    // A host's side has the one file.
    run(async {
        for (path, said) in
            [(&missing, "name a file that is there"), (&good.private_key, "holds no certificate")]
        {
            let config = host_config("https://localhost/p", &format!("tls_ca_file = {}", path.display()));
            let error = P2pDataSync::start(config).unwrap_err().to_string();
            assert!(error.starts_with("`tls_ca_file`: ") && error.contains(said), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
    });
}

#[test]
fn each_fault_of_a_connection_has_its_own_words_and_a_remedy() {
    let faults = [
        TlsFault::UnknownAuthority,
        TlsFault::Expired,
        TlsFault::NotYetValid,
        TlsFault::WrongName,
        TlsFault::Unusable,
        TlsFault::NotTls,
        TlsFault::NoAgreement,
    ];
    for (index, fault) in faults.iter().enumerate() {
        assert!(!fault.help().is_empty());
        assert!(faults[..index].iter().all(|other| other.to_string() != fault.to_string()));
    }
}
