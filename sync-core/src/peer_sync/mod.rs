//! Peers, each with its own database, that synchronise with one another.
//!
//! What is here, from the bottom up: [`version`] orders any two versions of a row; [`clock`] gives them their
//! stamps; [`content`] is what a row holds, in one canonical form; [`schema`] says which tables and columns travel
//! and what must hold between them; [`resolver`] decides where two versions of a row meet, and [`laws`] tests it; [`constraints`] says
//! how rows stand to one another;
//! [`snapshot`] and [`position`] say how far somebody has read; [`store`] is what the engine asks of a database;
//! [`message`] is what peers say to one another, [`announcement`] how they find each other; [`replica`] is the engine
//! of a peer, with [`settings`] and [`events`]; [`interface`] holds the documented formats of its HTTP interface,
//! [`authentication`] what peers prove with their shared key.
//!
//! Source of the rules: the specification's guide to peer synchronisation; for versions, Kulkarni et al. 2014;
//! for convergence, Shapiro et al. 2011.

pub mod announcement;
pub mod authentication;
pub mod clock;
pub mod constraints;
pub mod content;
pub mod discovery;
pub mod events;
pub mod interface;
pub mod laws;
pub mod message;
pub mod position;
pub mod reconcile;
pub mod replica;
pub mod resolver;
pub mod row;
pub mod schema;
pub mod settings;
pub mod snapshot;
pub mod store;
pub mod version;
