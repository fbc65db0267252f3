package fault

import (
	"sync"
	"sync/atomic"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
)

// Count is what happened on one method since the start or the last reset.
type Count struct {
	Calls            int64 `json:"calls"`
	Faults           int64 `json:"faults,omitempty"`           // faults injected
	DocumentsRead    int64 `json:"documentsRead,omitempty"`    // Firestore, as billed: a count costs 1 per 1000 index entries
	DocumentsWritten int64 `json:"documentsWritten,omitempty"` // Firestore writes that were accepted
	Messages         int64 `json:"messages,omitempty"`         // Pub/Sub messages published or delivered
}

// Counters is a snapshot of all counts.
type Counters struct {
	Methods          map[string]Count `json:"methods"` // by "Service/Method"
	DocumentsRead    int64            `json:"documentsRead"`
	DocumentsWritten int64            `json:"documentsWritten"`
}

// aggregationUnit is how many index entries an aggregation reads for the price of one document.
const aggregationUnit = 1000

type counter struct{ calls, faults, read, written, messages atomic.Int64 }

type counters struct{ byName sync.Map } // string -> *counter; bounded by the methods of three services

func (cs *counters) of(name string) *counter {
	if c, ok := cs.byName.Load(name); ok {
		return c.(*counter)
	}
	c, _ := cs.byName.LoadOrStore(name, new(counter))
	return c.(*counter)
}

// Counters returns the counts. Calls under way may be counted in part.
func (in *Injector) Counters() Counters {
	out := Counters{Methods: map[string]Count{}}
	in.counters.byName.Range(func(k, v any) bool {
		c := v.(*counter)
		n := Count{
			Calls: c.calls.Load(), Faults: c.faults.Load(), Messages: c.messages.Load(),
			DocumentsRead: c.read.Load(), DocumentsWritten: c.written.Load(),
		}
		if n != (Count{}) {
			out.Methods[k.(string)] = n
		}
		out.DocumentsRead += n.DocumentsRead
		out.DocumentsWritten += n.DocumentsWritten
		return true
	})
	return out
}

// ResetCounters sets all counts to zero.
func (in *Injector) ResetCounters() {
	in.counters.byName.Range(func(_, v any) bool {
		c := v.(*counter)
		for _, n := range []*atomic.Int64{&c.calls, &c.faults, &c.read, &c.written, &c.messages} {
			n.Store(0)
		}
		return true
	})
}

// answered counts a message that went to the client and returns the documents in it.
func (c *counter) answered(m any) (rows int) {
	switch m := m.(type) {
	case *firestorepb.RunQueryResponse:
		c.read.Add(int64(m.GetSkippedResults())) // billed as if they had been sent
		if m.GetDocument() != nil {
			rows = 1
		}
	case *firestorepb.BatchGetDocumentsResponse:
		if m.GetResult() != nil { // a document that is missing costs a read too
			rows = 1
		}
	case *firestorepb.ListenResponse:
		if m.GetDocumentChange() != nil {
			rows = 1
		}
	case *firestorepb.ListDocumentsResponse:
		rows = len(m.GetDocuments())
	case *firestorepb.RunAggregationQueryResponse:
		c.read.Add(aggregationReads(m))
		return 0
	case *pubsubpb.StreamingPullResponse:
		c.messages.Add(int64(len(m.GetReceivedMessages())))
	case *pubsubpb.PullResponse:
		c.messages.Add(int64(len(m.GetReceivedMessages())))
	case proto.Message, nil:
	default:
		// The embedded Firestore sends the rows of queries and batch reads as wire bytes in a type of its
		// own.
		rows = 1
		if d, ok := m.(interface{ Documents() int }); ok {
			rows = d.Documents()
		}
	}
	c.read.Add(int64(rows))
	return rows
}

// aggregationReads is exact for counts and a lower bound (1) for sums and averages, whose answers do not tell
// how many entries they took.
func aggregationReads(m *firestorepb.RunAggregationQueryResponse) int64 {
	if m.GetResult() == nil {
		return 0
	}
	reads := int64(1)
	for _, v := range m.GetResult().GetAggregateFields() {
		if n := v.GetIntegerValue(); n > 0 {
			reads = max(reads, (n+aggregationUnit-1)/aggregationUnit)
		}
	}
	return reads
}

// accepted counts a unary call that succeeded.
func (c *counter) accepted(req, resp any) {
	switch req := req.(type) {
	case *firestorepb.CommitRequest:
		c.written.Add(int64(len(req.GetWrites())))
	case *firestorepb.BatchWriteRequest:
		c.written.Add(int64(len(req.GetWrites())))
	case *firestorepb.CreateDocumentRequest, *firestorepb.UpdateDocumentRequest, *firestorepb.DeleteDocumentRequest:
		c.written.Add(1)
	case *firestorepb.GetDocumentRequest:
		c.read.Add(1)
	case *pubsubpb.PublishRequest:
		c.messages.Add(int64(len(req.GetMessages())))
	}
	c.answered(resp)
}
