//! CreateTopics and DeleteTopics: from requests to commands, and from what came of those to answers.
//!
//! Promises one result for each topic asked for, in the order of the request; one that is asked for twice gets one, which
//! says so. Only what is wrong whatever the image says is answered at once: whether a topic exists is judged where the
//! command is applied, as the image at hand may be old. Does not know how commands reach the log.

use std::collections::BTreeMap;

use super::apply::TopicShape;
use super::command::{Assigned, Command, CreateTopic, Defaults, DeleteTopic, Origin, TopicRef};
use super::image::{Applied, Image, Rejection};
use super::{COMMAND_BYTES_MAX, apply, describe, names};
use crate::id::TopicId;
use crate::kafka::errors::ErrorCode;
use crate::kafka::messages::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, DeletableTopicResult, DeleteTopicsRequest,
};
use crate::limits::TOPIC_PARTITIONS_MAX;

/// What to do for one topic of a CreateTopics request.
#[derive(Clone, PartialEq, Debug)]
pub enum CreateStep {
    /// Nothing: this is the result.
    Answer(CreatableTopicResult),
    /// Propose this, and answer with [`create_result`] when it is applied.
    Propose(CreateTopic),
}

/// What to do for one topic of a DeleteTopics request.
#[derive(Clone, PartialEq, Debug)]
pub enum DeleteStep {
    /// Nothing: this is the result.
    Answer(DeletableTopicResult),
    /// Propose this, and answer with [`delete_result`] when it is applied.
    Propose(DeleteTopic),
}

/// What to do for a CreateTopics request. `mint` gives each command an origin of its own.
pub fn create_steps(
    image: &Image,
    defaults: Defaults,
    request: &CreateTopicsRequest,
    mut mint: impl FnMut() -> Origin,
) -> Vec<CreateStep> {
    let partitions = request.topics.iter().map(|topic| {
        if topic.assignments.is_empty() {
            i64::from(topic.num_partitions.max(1))
        } else {
            topic.assignments.len() as i64
        }
    });
    let excessive = partitions.sum::<i64>() > i64::from(TOPIC_PARTITIONS_MAX);
    let mut asked: BTreeMap<&str, u32> = BTreeMap::new();
    for topic in &request.topics {
        *asked.entry(&topic.name).or_default() += 1;
    }
    let mut steps = Vec::new();
    for topic in &request.topics {
        // The first of several answers for all of them.
        let Some(times) = asked.remove(topic.name.as_str()) else {
            continue;
        };
        let refuse = |rejection: Rejection| CreateStep::Answer(refused_create(topic.name.clone(), &rejection));
        if times > 1 {
            steps.push(refuse(Rejection::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        } else if excessive {
            steps.push(refuse(Rejection::new(ErrorCode::PolicyViolation, apply::EXCESSIVE)));
        } else {
            let step = create_step(image, defaults, topic, request.validate_only, &mut mint);
            steps.push(step.unwrap_or_else(refuse));
        }
    }
    steps
}

fn create_step(
    image: &Image,
    defaults: Defaults,
    topic: &CreatableTopic,
    validate_only: bool,
    mint: &mut impl FnMut() -> Origin,
) -> Result<CreateStep, Rejection> {
    names::validate(&topic.name)
        .map_err(|error| Rejection::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if let Some(config) = topic.configs.iter().find(|config| config.value.is_none()) {
        let name: String = config.name.chars().take(super::CONFIG_VALUE_BYTES_MAX).collect();
        let message = format!("Null value not supported for topic configs: {name}");
        return Err(Rejection::new(ErrorCode::InvalidConfig, message));
    }
    let configs = topic.configs.iter().filter_map(|config| Some((config.name.clone(), config.value.clone()?)));
    let create = CreateTopic {
        origin: mint(),
        name: topic.name.clone(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: topic
            .assignments
            .iter()
            .map(|one| Assigned { partition: one.partition_index, brokers: one.broker_ids.clone() })
            .collect(),
        configs: configs.collect(),
        defaults,
        heirs: true,
    };
    if validate_only {
        let shape = image.validate_create(&create)?;
        return Ok(CreateStep::Answer(created(create.name, TopicId::ZERO, shape, &create.configs)));
    }
    if Command::CreateTopic(create.clone()).encode().len() > COMMAND_BYTES_MAX {
        // Mostly nonsense, and then it is better to say what is wrong with it.
        image.validate_create(&create)?;
        return Err(Rejection::new(ErrorCode::PolicyViolation, "The description of the topic is too large."));
    }
    Ok(CreateStep::Propose(create))
}

/// The result of a topic whose command was just applied to `image`.
pub fn create_result(image: &Image, name: &str, applied: &Result<Applied, Rejection>) -> CreatableTopicResult {
    match applied {
        Err(rejection) => refused_create(name.to_owned(), rejection),
        Ok(Applied::TopicCreated { id, .. }) => match image.topic(*id) {
            Some(topic) => {
                let shape =
                    TopicShape { partitions: topic.partition_count(), replication_factor: topic.replication_factor() };
                created(topic.name.clone(), topic.id, shape, &topic.configs)
            }
            // Deleted meanwhile: it was created, and is unknown now.
            None => refused_create(name.to_owned(), &apply::unknown_topic_name()),
        },
        Ok(other) => panic!("{other:?} does not come of CreateTopic"),
    }
}

fn created(
    name: String,
    topic_id: TopicId,
    shape: TopicShape,
    configs: &BTreeMap<String, String>,
) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        topic_id,
        error_code: ErrorCode::None.code(),
        error_message: None,
        num_partitions: shape.partitions,
        replication_factor: shape.replication_factor,
        configs: Some(describe::created_configs(configs)),
        topic_config_error_code: ErrorCode::None.code(),
    }
}

fn refused_create(name: String, rejection: &Rejection) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        topic_id: TopicId::ZERO,
        error_code: rejection.error.code(),
        error_message: Some(rejection.message.clone()),
        num_partitions: -1,
        replication_factor: -1,
        // Kafka's clients take null for "not allowed to see them".
        configs: Some(Vec::new()),
        topic_config_error_code: ErrorCode::None.code(),
    }
}

/// What to do for a DeleteTopics request of any version. `mint` gives each command an origin of its own.
pub fn delete_steps(request: &DeleteTopicsRequest, mut mint: impl FnMut() -> Origin) -> Vec<DeleteStep> {
    let by_name = request.topic_names.iter().map(|name| (Some(name), TopicId::ZERO));
    let by_either = request.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
    let asked: Vec<(Option<&String>, TopicId)> = by_name.chain(by_either).collect();
    let mut times: BTreeMap<(Option<&String>, TopicId), u32> = BTreeMap::new();
    for topic in &asked {
        *times.entry(*topic).or_default() += 1;
    }
    let mut steps = Vec::new();
    for (name, id) in asked {
        let Some(times) = times.remove(&(name, id)) else {
            continue;
        };
        let refuse = |message: &str| {
            let rejection = Rejection::new(ErrorCode::InvalidRequest, message);
            DeleteStep::Answer(refused_delete(name.cloned(), id, &rejection))
        };
        steps.push(match (name, id) {
            (None, TopicId::ZERO) => refuse("Neither topic name nor id were specified."),
            (Some(_), id) if id != TopicId::ZERO => refuse("You may not specify both topic name and topic id."),
            (Some(_), _) if times > 1 => refuse("Duplicate topic name."),
            (None, _) if times > 1 => refuse("Duplicate topic id."),
            // No topic has such a name, and it need not be carried through the log to say so.
            (Some(name), _) if names::validate(name).is_err() => {
                let name = Some(name.clone());
                DeleteStep::Answer(refused_delete(name, id, &apply::unknown_topic_name()))
            }
            (Some(name), _) => DeleteStep::Propose(DeleteTopic { origin: mint(), topic: TopicRef::Name(name.clone()) }),
            (None, id) => DeleteStep::Propose(DeleteTopic { origin: mint(), topic: TopicRef::Id(id) }),
        });
    }
    steps
}

/// The result of a topic whose command was just applied.
pub fn delete_result(topic: &TopicRef, applied: &Result<Applied, Rejection>) -> DeletableTopicResult {
    match applied {
        Err(rejection) => match topic {
            TopicRef::Name(name) => refused_delete(Some(name.clone()), TopicId::ZERO, rejection),
            TopicRef::Id(id) => refused_delete(None, *id, rejection),
        },
        Ok(Applied::TopicDeleted { id, name, .. }) => DeletableTopicResult {
            name: Some(name.clone()),
            topic_id: *id,
            error_code: ErrorCode::None.code(),
            error_message: None,
        },
        Ok(other) => panic!("{other:?} does not come of DeleteTopic"),
    }
}

fn refused_delete(name: Option<String>, topic_id: TopicId, rejection: &Rejection) -> DeletableTopicResult {
    let error_message = Some(rejection.message.clone());
    DeletableTopicResult { name, topic_id, error_code: rejection.error.code(), error_message }
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
