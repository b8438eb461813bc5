//! Where a request for vectors goes, and what stands in it.
//!
//! Both dialects are those of the providers' published references (`POST /embeddings` of OpenAI's API,
//! `POST /openai/deployments/{deployment}/embeddings` of Azure OpenAI, version 2023-05-15).

use serde::Serialize;

use crate::config::{EmbeddingProvider, Endpoint};
use crate::secret::Secret;

/// A provider that speaks OpenAI's dialect or Azure's. Its key is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    endpoint: Endpoint,
    key: Secret<String>,
    dialect: Dialect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Dialect {
    OpenAi { model: String },
    Azure { deployment: String, api_version: String },
}

#[derive(Serialize)]
struct Body<'a, T: AsRef<str> + Serialize> {
    input: &'a [T],
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'a str>,
}

impl From<EmbeddingProvider<'_>> for Provider {
    fn from(configured: EmbeddingProvider<'_>) -> Self {
        match configured {
            EmbeddingProvider::OpenAi { endpoint, key, model } => Self {
                endpoint: endpoint.clone(),
                key: key.clone(),
                dialect: Dialect::OpenAi { model: model.to_owned() },
            },
            EmbeddingProvider::Azure { endpoint, key, deployment, api_version } => Self {
                endpoint: endpoint.clone(),
                key: key.clone(),
                dialect: Dialect::Azure {
                    deployment: deployment.to_owned(),
                    api_version: api_version.to_owned(),
                },
            },
        }
    }
}

impl Provider {
    /// The server.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Path and query of a request. Names out of the configuration need no escape.
    pub fn path_and_query(&self) -> String {
        let base = self.endpoint.path().trim_end_matches('/');
        match &self.dialect {
            Dialect::OpenAi { .. } => format!("{base}/embeddings"),
            Dialect::Azure { deployment, api_version } => {
                format!("{base}/openai/deployments/{deployment}/embeddings?api-version={api_version}")
            }
        }
    }

    /// Name and value of the header that holds the key.
    pub fn authentication(&self) -> (&'static str, Secret<String>) {
        match &self.dialect {
            Dialect::OpenAi { .. } => ("authorization", Secret::new(format!("Bearer {}", self.key.expose()))),
            Dialect::Azure { .. } => ("api-key", self.key.clone()),
        }
    }

    /// The body that asks for the vectors of these texts. OpenAI is asked for base64, which is exact and a quarter as
    /// long; version 2023-05-15 of Azure knows numbers only.
    pub fn body<T: AsRef<str> + Serialize>(&self, texts: &[T]) -> Vec<u8> {
        let (model, encoding_format) = match &self.dialect {
            Dialect::OpenAi { model } => (Some(model.as_str()), Some("base64")),
            Dialect::Azure { .. } => (None, None),
        };
        let mut body = Vec::new();
        crate::wire::write(&Body { input: texts, model, encoding_format }, &mut body);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai(endpoint: &str) -> Provider {
        let (endpoint, key) = (endpoint.parse().unwrap(), Secret::new("canary".to_owned()));
        let model = "text-embedding-ada-002";
        EmbeddingProvider::OpenAi { endpoint: &endpoint, key: &key, model }.into()
    }

    fn azure(endpoint: &str) -> Provider {
        let (endpoint, key) = (endpoint.parse().unwrap(), Secret::new("canary".to_owned()));
        EmbeddingProvider::Azure {
            endpoint: &endpoint,
            key: &key,
            deployment: "ada",
            api_version: "2023-05-15",
        }
        .into()
    }

    fn body(provider: &Provider, texts: &[&str]) -> String {
        String::from_utf8(provider.body(texts)).unwrap()
    }

    #[test]
    fn openai_gets_its_path_key_and_body() {
        for endpoint in ["https://api.openai.com/v1", "https://api.openai.com/v1/"] {
            assert_eq!(openai(endpoint).path_and_query(), "/v1/embeddings");
        }
        assert_eq!(openai("http://127.0.0.1:1").path_and_query(), "/embeddings");
        let (name, value) = openai("https://api.openai.com/v1").authentication();
        assert_eq!((name, value.expose().as_str()), ("authorization", "Bearer canary"));
        assert_eq!(
            body(&openai("https://api.openai.com/v1"), &["a \"b\"", "\n"]),
            r#"{"input":["a \"b\"","\n"],"model":"text-embedding-ada-002","encoding_format":"base64"}"#
        );
    }

    #[test]
    fn azure_gets_its_path_key_and_body() {
        let provider = azure("https://game.openai.azure.com/");
        assert_eq!(provider.path_and_query(), "/openai/deployments/ada/embeddings?api-version=2023-05-15");
        let (name, value) = provider.authentication();
        assert_eq!((name, value.expose().as_str()), ("api-key", "canary"));
        assert_eq!(body(&provider, &["a"]), r#"{"input":["a"]}"#);
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?} {:?}", openai("https://api.openai.com/v1"), azure("https://a.example"));
        assert!(!shown.contains("canary"), "{shown}");
        assert!(!format!("{:?}", azure("https://a.example").authentication()).contains("canary"));
    }
}
