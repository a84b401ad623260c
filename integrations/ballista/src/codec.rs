use std::sync::Arc;

use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::from_proto::parse_physical_sort_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_sort_exprs;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalSortExprNode;
use losertree_datafusion::LoserTreeMergeExec;
use prost::Message;

/// A codec that can encode a [`LoserTreeMergeExec`], and leaves all other nodes, functions and expressions to another codec.
///
/// Ballista does not need it to run queries, since plans have a `SortPreservingMergeExec` until they reach the executor. It is for plans that were
/// made with the rule [`MergeByWindows`](losertree_datafusion::MergeByWindows), and are stored or sent to something other than a Ballista
/// scheduler. A scheduler does not cut stages at a [`LoserTreeMergeExec`].
///
/// The sort expressions with their options, the limit and whether ties take turns come back as they were. The ledger does not: it belongs to a process.
///
/// # Errors
///
/// Decoding fails where the bytes are not those of a merge, there is not exactly one input, or there is nothing to sort by.
#[derive(Debug)]
pub struct LoserTreeCodec {
    codec: Arc<dyn PhysicalExtensionCodec>,
}

/// What the bytes of a merge begin with. No message in protobuf does, since its first byte ends a group that was not begun.
const MAGIC: &[u8] = b"losertree/1 ";

#[derive(Clone, PartialEq, Message)]
struct Merge {
    #[prost(message, repeated, tag = "1")]
    ordering: Vec<PhysicalSortExprNode>,
    #[prost(uint64, optional, tag = "2")]
    fetch: Option<u64>,
    #[prost(bool, tag = "3")]
    round_robin_ties: bool,
}

impl LoserTreeCodec {
    /// Creates a codec around another one.
    #[must_use]
    pub fn new(codec: Arc<dyn PhysicalExtensionCodec>) -> Self {
        Self { codec }
    }

    fn decode(
        &self,
        message: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<LoserTreeMergeExec> {
        let merge = Merge::decode(message)
            .map_err(|error| internal_datafusion_err!("a LoserTreeMergeExec cannot be decoded: {error}"))?;
        let [input] = inputs else {
            return Err(internal_datafusion_err!("a LoserTreeMergeExec has one input, not {}", inputs.len()));
        };
        let context = PhysicalPlanDecodeContext::new(context, self);
        let ordering = parse_physical_sort_exprs(&merge.ordering, &context, &input.schema(), converter)?;
        let ordering = LexOrdering::new(ordering)
            .ok_or_else(|| internal_datafusion_err!("a LoserTreeMergeExec has nothing to sort by"))?;
        let fetch = merge.fetch.map(usize::try_from).transpose().map_err(|_| {
            internal_datafusion_err!("a LoserTreeMergeExec has a limit that this machine cannot count to")
        })?;
        let decoded = LoserTreeMergeExec::new(ordering, Arc::clone(input)).with_fetch(fetch);
        Ok(decoded.with_round_robin_ties(merge.round_robin_ties))
    }
}

impl PhysicalExtensionCodec for LoserTreeCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match buf.strip_prefix(MAGIC) {
            Some(message) => Ok(Arc::new(self.decode(message, inputs, ctx, proto_converter)?)),
            None => self.codec.try_decode(buf, inputs, ctx, proto_converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(merge) = node.downcast_ref::<LoserTreeMergeExec>() else {
            return self.codec.try_encode(node, buf, proto_converter);
        };
        let ordering = merge.ordering().iter().cloned();
        let message = Merge {
            ordering: serialize_physical_sort_exprs(ordering, self, proto_converter)?,
            fetch: merge.fetch().map(|rows| rows as u64),
            round_robin_ties: merge.has_round_robin_ties(),
        };
        buf.extend_from_slice(MAGIC);
        message
            .encode(buf)
            .map_err(|error| internal_datafusion_err!("a LoserTreeMergeExec cannot be encoded: {error}"))
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.codec.try_decode_udf(name, buf)
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.codec.try_encode_udf(node, buf)
    }

    fn try_decode_higher_order_function(&self, name: &str, buf: &[u8]) -> Result<Arc<HigherOrderUDF>> {
        self.codec.try_decode_higher_order_function(name, buf)
    }

    fn try_encode_higher_order_function(&self, node: &HigherOrderUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.codec.try_encode_higher_order_function(node, buf)
    }

    fn try_decode_expr(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        ctx: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.codec.try_decode_expr(buf, inputs, ctx)
    }

    fn try_encode_expr(
        &self,
        node: &Arc<dyn PhysicalExpr>,
        buf: &mut Vec<u8>,
        ctx: &PhysicalExprEncodeCtx<'_>,
    ) -> Result<()> {
        self.codec.try_encode_expr(node, buf, ctx)
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.codec.try_decode_udaf(name, buf)
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.codec.try_encode_udaf(node, buf)
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.codec.try_decode_udwf(name, buf)
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        self.codec.try_encode_udwf(node, buf)
    }
}
