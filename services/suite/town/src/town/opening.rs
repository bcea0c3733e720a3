//! How a visit begins: on which device, through which channel, and what is said at the door.

use rapport_types::{ConsentState, Purpose, UnixMillis};

use super::{DAY_MS, STREAM_SCHEDULE, Town};
use crate::event::{Body, Channel};
use crate::session::SessionStart;
use crate::shopper::{Language, Shopper};

/// The fork of the schedule's generator for openings: its numbers must not shift those of the times.
const OPENING: u64 = 1;

impl Town {
    /// Opens the shopper's next visit and schedules the one after.
    pub(super) fn open(&mut self, index: u32, at: UnixMillis) -> SessionStart {
        let mut progress = self.progress[index as usize];
        let number = progress.sessions;
        let shopper = &self.shoppers[index as usize];
        let schedule = self
            .rng
            .fork(STREAM_SCHEDULE)
            .fork(u64::from(index))
            .fork(u64::from(number));
        let mut rng = schedule.fork(OPENING);
        let device = u8::from(rng.chance(shopper.second_device_rate));
        let channel = Channel::ALL[rng.weighted(&shopper.channel_weights)];
        let bit = 1 << device;

        let mut said = Vec::new();
        if progress.used & bit == 0 {
            let asked = Purpose::ALL
                .into_iter()
                .filter(|purpose| *purpose != Purpose::Service);
            said.extend(asked.map(|purpose| {
                // Having taken a grant back, the shopper refuses it on a new device as well.
                let withdrawn =
                    progress.revoked && shopper.revokes.is_some_and(|(gone, _)| gone == purpose);
                let granted = shopper.grants.contains(purpose) && !withdrawn;
                let state = if granted {
                    ConsentState::Granted
                } else {
                    ConsentState::Revoked
                };
                Body::Consent { purpose, state }
            }));
        }
        let today = at.since(self.config.start) as f64 / DAY_MS;
        if let Some((purpose, _)) = shopper
            .revokes
            .filter(|(_, day)| !progress.revoked && today >= *day)
        {
            progress.revoked = true;
            said.push(Body::Consent {
                purpose,
                state: ConsentState::Revoked,
            });
        }
        if shopper.signs_in_from.is_some_and(|from| number >= from) && progress.signed_in & bit == 0
        {
            let login = self.login(index);
            if !progress.signed_up {
                said.push(sign_up(shopper, &login));
            }
            said.push(Body::SignIn { login });
            progress.signed_in |= bit;
            progress.signed_up = true;
        }
        progress.used |= bit;
        progress.sessions += 1;
        let login = (progress.signed_in & bit != 0).then(|| self.login(index));
        let mut start = SessionStart {
            shopper: index,
            number,
            at,
            device: self.device(index, device),
            device_class: shopper.device_class(device),
            login,
            channel,
            opening: Vec::new(),
        };
        let seed = self.config.seed;
        let opening = said.into_iter().enumerate();
        start.opening = opening
            .map(|(n, body)| start.event(seed, &format!("o{n}"), at, body))
            .collect();
        self.progress[index as usize] = progress;
        self.schedule(index, number + 1, at);
        start
    }
}

/// Returns a sign-up with details that look real and are nobody's.
fn sign_up(shopper: &Shopper, login: &str) -> Body {
    const FAMILY: [(&str, &str); 8] = [
        ("王", "Wang"),
        ("李", "Li"),
        ("张", "Zhang"),
        ("刘", "Liu"),
        ("陈", "Chen"),
        ("杨", "Yang"),
        ("赵", "Zhao"),
        ("周", "Zhou"),
    ];
    const GIVEN: [(&str, &str); 7] = [
        ("晓明", "Ming"),
        ("静怡", "Jingyi"),
        ("子涵", "Zihan"),
        ("建国", "Alex"),
        ("雨桐", "Olivia"),
        ("浩然", "Noah"),
        ("思远", "Emma"),
    ];
    let place = shopper.index as usize;
    let (family, given) = (FAMILY[place % FAMILY.len()], GIVEN[place % GIVEN.len()]);
    let name = match shopper.language {
        Language::Chinese => format!("{}{}", family.0, given.0),
        Language::English => format!("{} {}", given.1, family.1),
    };
    Body::SignUp {
        login: login.to_owned(),
        name,
        // 199 0000 0000 and up: the form of a mainland mobile number.
        phone: format!("199{:08}", shopper.index),
        email: format!("{login}@town.example"),
        language: shopper.language,
        region: shopper.region,
        age_band: shopper.age_band,
    }
}
