//! Peers by the API of Kubernetes: the EndpointSlices of the headless service that the nodes are behind. Only reads. Takes
//! endpoints that are not ready too: a node that waits for its peers is not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::{DEADLINE, Discovery, Found, MOST, http, in_time};
use crate::config;
use crate::registry::Boxed;

/// Slices of one service; each has up to a hundred endpoints.
const SLICES: usize = 50;

pub(super) struct Kubernetes(config::Kubernetes);

impl Kubernetes {
    pub(super) const fn new(settings: config::Kubernetes) -> Self {
        Self(settings)
    }

    async fn ask(&self) -> Result<Vec<SocketAddr>, String> {
        let settings = &self.0;
        let namespace = match &settings.namespace {
            Some(given) => given.clone(),
            None => http::read(&settings.namespace_file).await?,
        };
        let token = http::read(&settings.token_file).await?;
        // What is put in the path is checked by the configuration, or by the API's own rules for namespaces.
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices\
             ?limit={SLICES}&labelSelector=kubernetes.io%2Fservice-name%3D{}",
            settings.service
        );
        let answer = http::ask(http::Question {
            base: &settings.api,
            ca_file: Some(&settings.ca_file),
            path: &path,
            authorization: Some(format!("Bearer {token}")),
            body: None,
        });
        addresses(&answer.await?, &settings.port_name)
    }
}

fn addresses(answer: &Value, port_name: &str) -> Result<Vec<SocketAddr>, String> {
    let slices = answer["items"].as_array().ok_or("its answer is no list")?;
    if slices.is_empty() {
        return Err("the service has no endpoints".to_owned());
    }
    let mut found = Vec::new();
    let mut has_port = false;
    for slice in slices {
        let Some(port) = port(slice, port_name) else { continue };
        has_port = true;
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let listed = endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
        let addresses = listed.filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
        found.extend(addresses.map(|address| SocketAddr::new(address, port)));
    }
    if !has_port {
        return Err(format!("the service has no port named `{port_name}`"));
    }
    found.truncate(MOST);
    if found.is_empty() { Err("the service has no endpoints".to_owned()) } else { Ok(found) }
}

fn port(slice: &Value, name: &str) -> Option<u16> {
    let ports = slice["ports"].as_array()?;
    let named = ports.iter().find(|port| port["name"] == name)?;
    u16::try_from(named["port"].as_u64()?).ok().filter(|port| *port != 0)
}

impl Discovery for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn period(&self) -> Duration {
        self.0.period
    }

    fn look(&mut self) -> Boxed<'_, Found> {
        Box::pin(async {
            let looked = in_time(DEADLINE, self.ask()).await;
            Found::from(looked.map_err(|why| format!("service `{}` at {}: {why}", self.0.service, self.0.api)))
        })
    }
}
