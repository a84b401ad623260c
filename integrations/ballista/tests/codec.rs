//! Plans that are encoded and decoded again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleReaderExec, ShuffleWriterExec};
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::{SortOptions, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::functions::string::expr_fn::upper;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, create_physical_expr};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning, collect, displayable};
use datafusion::prelude::{SessionContext, col as column};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, DefaultPhysicalProtoConverter, PhysicalExtensionCodec,
};
use losertree_ballista::LoserTreeCodec;
use losertree_datafusion::LoserTreeMergeExec;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Three partitions, each sorted by an ordering.
fn source(ordering: &LexOrdering) -> Arc<dyn ExecutionPlan> {
    let partition = |first: i64| {
        let keys: Int64Array = (0..40).map(|row| (row % 7 != 0).then_some((row * 31 + first) % 17)).collect();
        let names: StringArray = (0..40)
            .map(|row| {
                (row % 5 != 0).then(|| format!("{}ame {}", if row % 2 == 0 { 'n' } else { 'N' }, row % 9))
            })
            .collect();
        vec![RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(names)]).unwrap()]
    };
    let partitions = [partition(0), partition(5), partition(11)];
    let source = MemorySourceConfig::try_new_exec(&partitions, schema(), None).unwrap();
    Arc::new(SortExec::new(ordering.clone(), source).with_preserve_partitioning(true))
}

fn codec() -> LoserTreeCodec {
    LoserTreeCodec::new(Arc::new(BallistaPhysicalExtensionCodec::default()))
}

fn round_trip(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(plan), &codec()).unwrap();
    let context = SessionContext::new().task_ctx();
    physical_plan_from_bytes_with_extension_codec(&bytes, &context, &codec()).unwrap()
}

fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(true).to_string()
}

/// Expressions that are not plain columns too.
fn expressions() -> Vec<Arc<dyn PhysicalExpr>> {
    let (key, name) = (col("key", &schema()).unwrap(), col("name", &schema()).unwrap());
    let rest = binary(Arc::clone(&key), Operator::Modulo, lit(5_i64), &schema()).unwrap();
    let context = SessionContext::new();
    let upper = create_physical_expr(
        &upper(column("name")),
        &schema().try_into().unwrap(),
        context.state().execution_props(),
        &PhysicalPlanningContext::default(),
    );
    vec![key, name, rest, upper.unwrap()]
}

#[tokio::test]
async fn a_merge_comes_back_with_its_ordering_and_its_limit() {
    let options = [false, true]
        .map(|descending| [false, true].map(|nulls_first| SortOptions { descending, nulls_first }))
        .concat();
    let mut plans = 0;
    for first in expressions() {
        for second in expressions() {
            for (at, first_options) in options.iter().enumerate() {
                let second_options = options[(at + 1) % options.len()];
                let ordering = LexOrdering::new([
                    PhysicalSortExpr::new(Arc::clone(&first), *first_options),
                    PhysicalSortExpr::new(Arc::clone(&second), second_options),
                ]);
                let ordering = ordering.unwrap();
                for fetch in [None, Some(0), Some(1), Some(13), Some(usize::MAX)] {
                    let ties = plans % 2 == 1;
                    let merge = LoserTreeMergeExec::new(ordering.clone(), source(&ordering))
                        .with_fetch(fetch)
                        .with_round_robin_ties(ties);
                    let plan: Arc<dyn ExecutionPlan> = Arc::new(merge);
                    let decoded = round_trip(&plan);
                    assert_eq!(shown(&decoded), shown(&plan));
                    let merge = decoded.downcast_ref::<LoserTreeMergeExec>().unwrap();
                    assert_eq!(merge.ordering(), &ordering);
                    assert_eq!((merge.fetch(), merge.has_round_robin_ties()), (fetch, ties));
                    plans += 1;
                }
            }
        }
    }
    assert_eq!(plans, 4 * 4 * 4 * 5);
}

#[tokio::test]
async fn a_merge_that_comes_back_merges_the_same() {
    let ordering = expressions().into_iter().map(PhysicalSortExpr::new_default);
    let ordering = LexOrdering::new(ordering).unwrap();
    for fetch in [None, Some(50)] {
        let merge = LoserTreeMergeExec::new(ordering.clone(), source(&ordering)).with_fetch(fetch);
        let plan: Arc<dyn ExecutionPlan> = Arc::new(merge);
        let rows = |plan| async move {
            let batches = collect(plan, SessionContext::new().task_ctx()).await.unwrap();
            let batch = concat_batches(&schema(), &batches).unwrap();
            pretty_format_batches(&[batch]).unwrap().to_string()
        };
        let decoded = round_trip(&plan);
        assert_eq!(rows(decoded).await, rows(plan).await);
    }
}

#[tokio::test]
async fn merges_come_back_within_other_nodes_and_nodes_of_ballista() {
    let ordering = LexOrdering::new([PhysicalSortExpr::new_default(col("key", &schema()).unwrap())]).unwrap();
    let reader =
        ShuffleReaderExec::try_new(1, vec![vec![], vec![]], schema(), Partitioning::UnknownPartitioning(2));
    let lower = LoserTreeMergeExec::new(ordering.clone(), Arc::new(reader.unwrap())).with_fetch(Some(9));
    let limit = GlobalLimitExec::new(Arc::new(lower), 2, Some(5));
    let upper = LoserTreeMergeExec::new(ordering, Arc::new(limit));
    let writer = ShuffleWriterExec::try_new(JobId::from("job"), 2, Arc::new(upper), String::new()).unwrap();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(writer);
    let decoded = round_trip(&plan);
    assert_eq!(shown(&decoded), shown(&plan));
    assert_eq!(shown(&decoded).matches("LoserTreeMergeExec").count(), 2, "{}", shown(&decoded));
}

#[tokio::test]
async fn bad_bytes_are_errors() {
    let ordering = LexOrdering::new([PhysicalSortExpr::new_default(col("key", &schema()).unwrap())]).unwrap();
    let input = source(&ordering);
    let merge = LoserTreeMergeExec::new(ordering, Arc::clone(&input)).with_fetch(Some(300));
    let mut bytes = Vec::new();
    codec().try_encode(Arc::new(merge), &mut bytes, &DefaultPhysicalProtoConverter {}).unwrap();
    let context = SessionContext::new().task_ctx();
    let decode = |bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]| {
        codec().try_decode(bytes, inputs, &context, &DefaultPhysicalProtoConverter {})
    };
    let one = std::slice::from_ref(&input);
    decode(&bytes, one).unwrap();

    let error = decode(&bytes, &[]).unwrap_err().to_string();
    assert!(error.contains("has one input, not 0"), "{error}");
    let error = decode(&bytes, &[Arc::clone(&input), Arc::clone(&input)]).unwrap_err().to_string();
    assert!(error.contains("has one input, not 2"), "{error}");
    let error = decode(b"losertree/1 ", one).unwrap_err().to_string();
    assert!(error.contains("nothing to sort by"), "{error}");
    let error = decode(b"losertree/1 \xff\xff", one).unwrap_err().to_string();
    assert!(error.contains("cannot be decoded"), "{error}");
    // Cut anywhere, it is an error or a shorter merge, and never a panic.
    for len in 0..bytes.len() {
        if let Ok(merge) = decode(&bytes[..len], one) {
            assert!(merge.is::<LoserTreeMergeExec>());
        }
    }
    // What is not ours is for the codec inside.
    assert!(decode(b"", one).unwrap_err().to_string().contains("BallistaPhysicalPlanNode"));
    let alone = LoserTreeCodec::new(Arc::new(DefaultPhysicalExtensionCodec {}));
    let mut bytes = Vec::new();
    alone.try_encode(input, &mut bytes, &DefaultPhysicalProtoConverter {}).unwrap_err();
    assert!(bytes.is_empty());
}
