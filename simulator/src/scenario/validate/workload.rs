//! Rules of what is asked for.

use sync_core::data_type::SyncDataType;

use super::{DAY, MIX_BYTES, Rules, listed};
use crate::scenario::model::{Arrivals, HostSet, Hostile, MixEntry, MixKind, Workload};
use crate::scenario::units::{Length, Rate};

impl Rules<'_> {
    pub(super) fn workload(&mut self, path: &str, workload: &Workload) {
        self.name(&format!("{path}.name"), &workload.name);
        self.hosts(&format!("{path}.hosts"), &workload.hosts);
        self.arrivals(&format!("{path}.arrivals"), &workload.arrivals, &workload.hosts);
        if workload.mix.is_empty() {
            let help = "add an entry: `mix: [{type: PLAYER_POSITION}]`";
            self.refuse(&format!("{path}.mix"), "an empty `mix` asks for nothing", help);
        }
        for (index, entry) in workload.mix.iter().enumerate() {
            self.mix_entry(&format!("{path}.mix[{index}]"), entry);
            if let Some(map) = entry.map.filter(|map| *map >= self.maps) {
                let help = format!("maps count from 0: write 0 to {}", self.maps - 1);
                self.refuse(&format!("{path}.mix[{index}].map"), format!("there is no map {map}"), help);
            }
        }
        self.moment(&format!("{path}.from"), workload.from);
        if let Some(until) = workload.until {
            let at = format!("{path}.until");
            if until <= workload.from {
                let message = format!("`until` is {until}, not after `from`, which is {}", workload.from);
                self.refuse(&at, message, "let it end later than it begins");
            } else {
                self.moment(&at, until);
            }
        }
    }

    pub(super) fn arrivals(&mut self, path: &str, arrivals: &Arrivals, hosts: &HostSet) {
        match arrivals {
            Arrivals::Constant(rate) | Arrivals::Poisson(rate) => {
                self.total_rate(path, *rate, hosts);
            }
            Arrivals::Ramp(ramp) => self.total_rate(path, ramp.from.max(ramp.to), hosts),
            Arrivals::Burst(burst) => {
                self.range(&format!("{path}.burst.size"), burst.size, 1..=BURST_MAX);
                self.length(&format!("{path}.burst.every"), burst.every, BURST_EVERY_MIN..=DAY);
                self.order(&format!("{path}.burst"), ("within", burst.within), ("every", burst.every));
                let hertz = u64::from(burst.size) * 1_000_000_000_000 / burst.every.as_us().max(1);
                match Rate::from_micro_hz(hertz) {
                    Some(rate) => self.total_rate(path, rate, hosts),
                    None => self.refuse(
                        path,
                        "these groups come faster than operations can",
                        "make `every` longer or `size` smaller",
                    ),
                }
            }
        }
    }

    /// All hosts together stay within what a run can hold.
    fn total_rate(&mut self, path: &str, rate: Rate, hosts: &HostSet) {
        let concerned = match hosts {
            HostSet::All => self.hosts,
            HostSet::First(count) => *count,
            HostSet::Only(hosts) => u32::try_from(hosts.len()).unwrap_or(u32::MAX),
        };
        let total = u128::from(rate.micro_hz()) * u128::from(concerned) * u128::from(self.duration.as_us());
        let operations = total / 1_000_000_000_000;
        if operations > u128::from(OPERATIONS_MAX) {
            let message = format!("{concerned} hosts at {rate} make {operations} operations");
            let help = format!(
                "the rate is that of each host; a workload has at most {OPERATIONS_MAX} operations in all"
            );
            self.refuse(path, message, help);
        }
    }

    fn mix_entry(&mut self, path: &str, entry: &MixEntry) {
        self.range(&format!("{path}.weight"), entry.weight, 1..=1_000_000);
        self.range(&format!("{path}.bytes"), entry.bytes, MIX_BYTES);
        let embeds = matches!(entry.kind, MixKind::Embed | MixKind::Search);
        if embeds && entry.data_type.get() != SyncDataType::VectorEmbedding {
            let help = "write `type: VECTOR_EMBEDDING` beside `embed` and `search`";
            self.refuse(&format!("{path}.type"), "texts and searches are VECTOR_EMBEDDING", help);
        } else if !self.embeds && (embeds || entry.data_type.get() == SyncDataType::VectorEmbedding) {
            self.provider(&format!("{path}.type"), "nobody gives vectors");
        }
        let data_type = entry.data_type.get();
        if entry.kind == MixKind::Report && data_type != SyncDataType::HostMetrics {
            let message = format!("{data_type} is not what a host reports");
            self.refuse(&format!("{path}.type"), message, "write `{type: HOST_METRICS, kind: report}`");
        }
        if let Some(hostile) = entry.hostile {
            self.hostile(&format!("{path}.hostile"), hostile, entry);
        }
    }

    fn hostile(&mut self, path: &str, hostile: Hostile, entry: &MixEntry) {
        use SyncDataType::{
            ChatMessage, CriticalGameState, ItemDrop, MapState, MonsterData, PlayerData, PlayerPosition,
        };
        let types: &[SyncDataType] = match hostile {
            Hostile::Malformed | Hostile::TooDeep | Hostile::UnknownVersion => &SyncDataType::ALL,
            Hostile::Oversized => &[ChatMessage, PlayerPosition],
            Hostile::OutOfBounds | Hostile::WrongAccount => &[PlayerPosition, PlayerData],
            Hostile::Teleport => &[PlayerPosition],
            Hostile::ImpossibleMonster | Hostile::SpawnRate => &[MonsterData],
            Hostile::DropRate => &[ItemDrop],
            Hostile::SkillForm => &[CriticalGameState],
            Hostile::ForeignMap => &[MapState],
        };
        if entry.kind != MixKind::SyncTo {
            self.refuse(path, "only what a host writes can be hostile", "leave `kind` out");
        } else if !types.contains(&entry.data_type.get()) {
            let message = format!("{} cannot be hostile in this way", entry.data_type.get());
            self.refuse(path, message, format!("it can with the type {}", listed(types)));
        } else if !self.rules && !matches!(hostile, Hostile::Malformed | Hostile::UnknownVersion) {
            let help = "write `main_server: {rules: true}`";
            self.refuse(path, "without rules this is not refused", help);
        }
    }
}

const BURST_MAX: u32 = 100_000;
const BURST_EVERY_MIN: Length = Length::from_ms(1);
/// Of one workload: far more than a run of an hour can do.
const OPERATIONS_MAX: u64 = 100_000_000;
