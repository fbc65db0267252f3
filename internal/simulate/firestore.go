package simulate

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const project = "simulated"

// client gives the process a Firestore client of Google's. Its connection leads nowhere: calls are answered
// by the database in memory before they would be sent.
func (p *process) client(ctx context.Context) (*firestore.Client, error) {
	conn, err := grpc.NewClient("passthrough:///simulated", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(p.unary), grpc.WithStreamInterceptor(p.stream))
	if err != nil {
		return nil, fmt.Errorf("make a connection: %w", err)
	}
	return firestore.NewClient(ctx, project, option.WithGRPCConn(conn))
}

func (p *process) unary(ctx context.Context, method string, req, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
	switch req := req.(type) {
	case *firestorepb.CommitRequest:
		out := reply.(*firestorepb.CommitResponse)
		return p.commit(ctx, req, out)
	case *firestorepb.BeginTransactionRequest:
		reply.(*firestorepb.BeginTransactionResponse).Transaction = []byte("reads only")
		return p.ask(ctx, firestoreRead, 0, func() error { return nil }, method)
	case *firestorepb.RollbackRequest:
		return nil
	}
	return status.Errorf(codes.Unimplemented, "the simulated Firestore does not know %s", method)
}

func (p *process) commit(ctx context.Context, req *firestorepb.CommitRequest, out *firestorepb.CommitResponse) error {
	list := req.GetWrites()
	if len(list) == 0 {
		out.CommitTime = timestamppb.Now()
		return nil
	}
	if len(list) > 20 { // only these can be large
		p.count.gauge("request bytes", proto.Size(req))
	}
	more := time.Duration(max(0, len(list)-10)) * perDocument
	return p.ask(ctx, firestoreCommit, more, func() error {
		resp, err := p.db.commit(list)
		if err != nil {
			p.count.add("Firestore commits refused", 1)
			return err
		}
		out.WriteResults, out.CommitTime = resp.GetWriteResults(), resp.GetCommitTime()
		return nil
	}, "commit", top(nameOf(list[0])))
}

// top is the name of the top-level document that a document is or belongs to. Latencies go by it: which of a
// job's parts leads a group of changes that come in one instant is the runtime's choice.
func top(name string) string {
	segments := strings.SplitN(name, "/", 8) // projects/P/databases/D/documents/collection/id/...
	return strings.Join(segments[:min(7, len(segments))], "/")
}

// stream answers the calls that Google's client makes as streams: the request goes in whole, the answers come
// one by one.
func (p *process) stream(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if strings.HasSuffix(method, "/Listen") {
		return &listening{process: p, ctx: ctx, wake: make(chan struct{}, 1)}, nil
	}
	return &call{process: p, ctx: ctx, method: method}, nil
}

// call is a stream under way.
type call struct {
	*process
	ctx    context.Context
	method string
	req    any
	asked  bool
	docs   []*firestorepb.BatchGetDocumentsResponse
	rows   []*firestorepb.RunQueryResponse
	sum    *firestorepb.RunAggregationQueryResponse
}

func (c *call) Header() (metadata.MD, error) { return nil, nil }
func (c *call) Trailer() metadata.MD         { return nil }
func (c *call) CloseSend() error             { return nil }
func (c *call) Context() context.Context     { return c.ctx }
func (c *call) SendMsg(m any) error          { c.req = m; return nil }

func (c *call) RecvMsg(m any) error {
	if !c.asked {
		c.asked = true
		if err := c.answer(); err != nil {
			return err
		}
	}
	switch m := m.(type) {
	case *firestorepb.BatchGetDocumentsResponse:
		if len(c.docs) == 0 {
			return io.EOF
		}
		m.Result, m.ReadTime = c.docs[0].Result, c.docs[0].ReadTime
		c.docs = c.docs[1:]
	case *firestorepb.RunQueryResponse:
		if len(c.rows) == 0 {
			return io.EOF
		}
		m.Document, m.ReadTime = c.rows[0].Document, c.rows[0].ReadTime
		c.rows = c.rows[1:]
	case *firestorepb.RunAggregationQueryResponse:
		if c.sum == nil {
			return io.EOF
		}
		m.Result, m.ReadTime = c.sum.Result, c.sum.ReadTime
		c.sum = nil
	}
	return nil
}

func (c *call) answer() error {
	switch req := c.req.(type) {
	case *firestorepb.BatchGetDocumentsRequest:
		return c.get(req)
	case *firestorepb.RunQueryRequest:
		return c.run(req)
	case *firestorepb.RunAggregationQueryRequest:
		return c.aggregate(req)
	}
	return status.Errorf(codes.Unimplemented, "the simulated Firestore does not know %s", c.method)
}

func (c *call) get(req *firestorepb.BatchGetDocumentsRequest) error {
	names := req.GetDocuments()
	more := time.Duration(len(names)-1) * perDocument
	return c.ask(c.ctx, firestoreRead, more, func() error {
		now := timestamppb.Now()
		for _, name := range names {
			p, err := fsvalue.ParseDocument(name)
			if err != nil {
				return err
			}
			resp := &firestorepb.BatchGetDocumentsResponse{ReadTime: now}
			if doc := c.db.get(p); doc != nil {
				resp.Result = &firestorepb.BatchGetDocumentsResponse_Found{Found: doc.message()}
			} else {
				resp.Result = &firestorepb.BatchGetDocumentsResponse_Missing{Missing: name}
			}
			c.docs = append(c.docs, resp)
		}
		c.count.read(c.name, len(names)) // a document that is missing costs a read too
		return nil
	}, "get", names[0])
}

func (c *call) run(req *firestorepb.RunQueryRequest) error {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return err
	}
	// Parse changes what it is given, and queries side by side share values: a network would bring copies.
	q, err := fsquery.Parse(parent, proto.CloneOf(req.GetStructuredQuery()))
	if err != nil {
		return err
	}
	return c.ask(c.ctx, firestoreQuery, 0, func() error {
		docs, err := c.db.query(q)
		if err != nil {
			return err
		}
		now := timestamppb.Now()
		for _, doc := range docs {
			c.rows = append(c.rows, &firestorepb.RunQueryResponse{Document: projected(doc, q), ReadTime: now})
		}
		if len(docs) == 0 { // which costs a read as well
			c.rows = append(c.rows, &firestorepb.RunQueryResponse{ReadTime: now})
			c.count.add("Firestore queries without a result", 1)
		}
		c.count.read(c.name, max(1, len(docs)))
		return nil
	}, "query", q.CollectionID, parent.Rel())
}

func (c *call) aggregate(req *firestorepb.RunAggregationQueryRequest) error {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return err
	}
	a, err := fsquery.ParseAggregation(parent, proto.CloneOf(req.GetStructuredAggregationQuery()))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(a.Aggregates, func(g fsquery.Aggregate) bool { return g.Kind != fsquery.Count }) {
		return status.Error(codes.Unimplemented, "the simulated Firestore only counts")
	}
	return c.ask(c.ctx, firestoreQuery, 0, func() error {
		docs, err := c.db.query(a.Query)
		if err != nil {
			return err
		}
		result := &firestorepb.AggregationResult{AggregateFields: map[string]*firestorepb.Value{}}
		for _, g := range a.Aggregates {
			n := int64(len(docs))
			if g.UpTo > 0 {
				n = min(n, g.UpTo)
			}
			result.AggregateFields[g.Alias] = &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: n}}
		}
		c.sum = &firestorepb.RunAggregationQueryResponse{Result: result, ReadTime: timestamppb.Now()}
		c.count.read(c.name, max(1, (len(docs)+999)/1000)) // 1 read for up to 1,000 index entries
		return nil
	}, "count", a.Query.CollectionID)
}
