package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func injector(t *testing.T, rules map[string]Rule) *Injector {
	t.Helper()
	in, err := New(Config{Seed: 1, Rules: rules})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	return in
}

// unary sends a request through the injector to a server that answers with resp.
func unary(in *Injector, method string, req, resp any) (any, error) {
	return in.Unary()(context.Background(), req, &grpc.UnaryServerInfo{FullMethod: method},
		func(context.Context, any) (any, error) { return resp, nil })
}

const commitMethod = "/google.firestore.v1.Firestore/Commit"

func TestSameSeedSameFate(t *testing.T) {
	t.Parallel()
	run := func() (fate []bool) {
		in := injector(t, map[string]Rule{"Firestore/Commit": {ErrorRate: 0.3}})
		for range 200 {
			_, err := unary(in, commitMethod, &firestorepb.CommitRequest{}, &firestorepb.CommitResponse{})
			fate = append(fate, err != nil)
		}
		return fate
	}
	first := run()
	failed := 0
	for _, f := range first {
		if f {
			failed++
		}
	}
	if failed < 30 || failed > 90 {
		t.Errorf("%d of 200 calls failed at a rate of 0.3", failed)
	}
	if !slices.Equal(first, run()) {
		t.Error("two runs with one seed differ")
	}
}

func TestMostSpecificRule(t *testing.T) {
	t.Parallel()
	in := injector(t, map[string]Rule{
		"*":                 {ErrorRate: 1, Code: "ABORTED"},
		"Publisher/*":       {ErrorRate: 1, Code: "RESOURCE_EXHAUSTED"},
		"Publisher/Publish": {},
	})
	for method, want := range map[string]codes.Code{
		"/google.firestore.v1.Firestore/Commit":   codes.Aborted,
		"/google.pubsub.v1.Publisher/CreateTopic": codes.ResourceExhausted,
		"/google.pubsub.v1.Publisher/Publish":     codes.OK,
	} {
		if _, err := unary(in, method, &firestorepb.CommitRequest{}, &firestorepb.CommitResponse{}); status.Code(err) != want {
			t.Errorf("call of %s = %v, want %v", method, err, want)
		}
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	in := injector(t, nil)
	if _, err := unary(in, commitMethod, &firestorepb.CommitRequest{Writes: make([]*firestorepb.Write, 3)}, &firestorepb.CommitResponse{}); err != nil {
		t.Fatalf("Commit() = %v", err)
	}
	count := func(n int64) *firestorepb.RunAggregationQueryResponse {
		return &firestorepb.RunAggregationQueryResponse{Result: &firestorepb.AggregationResult{AggregateFields: map[string]*firestorepb.Value{
			"n": {ValueType: &firestorepb.Value_IntegerValue{IntegerValue: n}},
		}}}
	}
	serve(t, in, "/google.firestore.v1.Firestore/RunAggregationQuery", count(0), count(1000), count(1001)) // 1 + 1 + 2
	doc := &firestorepb.RunQueryResponse{Document: &firestorepb.Document{}}
	serve(t, in, "/google.firestore.v1.Firestore/RunQuery", doc, doc, &firestorepb.RunQueryResponse{})
	serve(t, in, "/google.firestore.v1.Firestore/BatchGetDocuments", wireRow{})
	serve(t, in, "/google.firestore.v1.Firestore/Write", &firestorepb.WriteResponse{}, &firestorepb.WriteResponse{WriteResults: make([]*firestorepb.WriteResult, 2)})
	got := in.Counters()
	want := map[string]Count{
		"Firestore/Commit":              {Calls: 1, DocumentsWritten: 3},
		"Firestore/RunAggregationQuery": {Calls: 1, DocumentsRead: 4},
		"Firestore/RunQuery":            {Calls: 1, DocumentsRead: 2},
		"Firestore/BatchGetDocuments":   {Calls: 1, DocumentsRead: 1},
		"Firestore/Write":               {Calls: 1, DocumentsWritten: 2},
	}
	for name, w := range want {
		if got.Methods[name] != w {
			t.Errorf("count of %s = %+v, want %+v", name, got.Methods[name], w)
		}
	}
	if got.DocumentsRead != 7 || got.DocumentsWritten != 5 {
		t.Errorf("totals = %d read, %d written; want 7 and 5", got.DocumentsRead, got.DocumentsWritten)
	}
	in.ResetCounters()
	if got := in.Counters(); len(got.Methods) != 0 || got.DocumentsRead != 0 {
		t.Errorf("after a reset %+v, want nothing", got)
	}
}

type wireRow struct{} // a message that is not generated, as the embedded Firestore sends

// sink is the transport below the injector.
type sink struct {
	grpc.ServerStream
	ctx  context.Context
	sent []any
}

func (s *sink) Context() context.Context { return s.ctx }
func (s *sink) SendMsg(m any) error      { s.sent = append(s.sent, m); return nil }

// serve runs a server stream that sends the messages, and returns what came through.
func serve(t *testing.T, in *Injector, method string, msgs ...any) ([]any, error) {
	t.Helper()
	s := &sink{ctx: t.Context()}
	err := in.Stream()(nil, s, &grpc.StreamServerInfo{FullMethod: method}, func(_ any, ss grpc.ServerStream) error {
		for _, m := range msgs {
			if err := ss.SendMsg(m); err != nil {
				return fmt.Errorf("wrapped by the server: %w", err)
			}
		}
		return nil
	})
	return s.sent, err
}

func TestStreamBreaks(t *testing.T) {
	t.Parallel()
	in := injector(t, map[string]Rule{"Firestore/RunQuery": {CutRate: 1, CutAfter: 2}})
	m := &firestorepb.RunQueryResponse{}
	sent, err := serve(t, in, "/google.firestore.v1.Firestore/RunQuery", m, m, m)
	if len(sent) != 2 || status.Code(err) != codes.Unavailable {
		t.Errorf("stream sent %d messages and ended with %v, want 2 and Unavailable", len(sent), err)
	}
	in = injector(t, map[string]Rule{"Firestore/Write": {CutRate: 1, CutAfter: 1}})
	done := &firestorepb.WriteResponse{WriteResults: make([]*firestorepb.WriteResult, 2)}
	sent, err = serve(t, in, "/google.firestore.v1.Firestore/Write", &firestorepb.WriteResponse{}, done)
	if n := in.Counters().DocumentsWritten; len(sent) != 1 || status.Code(err) != codes.Unavailable || n != 2 {
		t.Errorf("stream sent %d messages, ended with %v and counts %d writes, want 1, Unavailable, and 2 whose answer is lost", len(sent), err, n)
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	in := injector(t, map[string]Rule{"*": {LostRate: 1, Code: "ABORTED"}})
	_, err := unary(in, commitMethod, &firestorepb.CommitRequest{Writes: make([]*firestorepb.Write, 1)}, &firestorepb.CommitResponse{})
	if status.Code(err) != codes.Aborted || in.Counters().DocumentsWritten != 1 {
		t.Errorf("Commit() = %v with %d documents written, want Aborted and 1", err, in.Counters().DocumentsWritten)
	}
}

func TestShaping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := injector(t, map[string]Rule{"*": {LatencyMS: 50, RowsPerSecond: 1000}})
		var rows []any
		for range 2000 {
			rows = append(rows, &firestorepb.RunQueryResponse{Document: &firestorepb.Document{}})
		}
		begin := time.Now()
		if _, err := serve(t, in, "/google.firestore.v1.Firestore/RunQuery", rows...); err != nil {
			t.Fatalf("stream = %v", err)
		}
		if took, want := time.Since(begin), 2050*time.Millisecond; took < want-10*time.Millisecond || took > want+10*time.Millisecond {
			t.Errorf("2000 rows took %s, want about %s", took, want)
		}
	})
}

func TestDelayEndsWithTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := injector(t, map[string]Rule{"*": {DelayRate: 1, DelayMS: 60_000}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := in.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: commitMethod}, nil)
		if status.Code(err) != codes.DeadlineExceeded || time.Since(begin) != time.Second {
			t.Errorf("call = %v after %s, want DeadlineExceeded after 1s", err, time.Since(begin))
		}
	})
}

func TestPublishedMessages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule      Rule
		taken     int // messages the server gets
		firstID   string
		delivered int
	}{
		"none":   {Rule{}, 2, "id0", 2},
		"drop":   {Rule{DropRate: 1}, 0, "0", 0},
		"double": {Rule{DoubleRate: 1}, 4, "id0", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := injector(t, map[string]Rule{"*": c.rule})
			taken := 0
			req := &pubsubpb.PublishRequest{Messages: []*pubsubpb.PubsubMessage{{Data: []byte("a")}, {Data: []byte("b")}}}
			resp, err := in.Unary()(t.Context(), req, &grpc.UnaryServerInfo{FullMethod: "/google.pubsub.v1.Publisher/Publish"},
				func(_ context.Context, req any) (any, error) {
					resp := &pubsubpb.PublishResponse{}
					for i := range req.(*pubsubpb.PublishRequest).GetMessages() {
						taken++
						resp.MessageIds = append(resp.MessageIds, fmt.Sprintf("id%d", i))
					}
					return resp, nil
				})
			if err != nil {
				t.Fatalf("Publish() = %v", err)
			}
			if ids := resp.(*pubsubpb.PublishResponse).GetMessageIds(); taken != c.taken || len(ids) != 2 || ids[0] != c.firstID {
				t.Errorf("the server took %d messages and the client got %q, want %d and two ids from %q", taken, ids, c.taken, c.firstID)
			}
			sent, err := serve(t, in, "/google.pubsub.v1.Subscriber/StreamingPull",
				&pubsubpb.StreamingPullResponse{ReceivedMessages: make([]*pubsubpb.ReceivedMessage, 2)})
			if err != nil {
				t.Fatalf("StreamingPull() = %v", err)
			}
			delivered := 0
			for _, m := range sent {
				delivered += len(m.(*pubsubpb.StreamingPullResponse).GetReceivedMessages())
			}
			if delivered != c.delivered {
				t.Errorf("delivered %d messages of 2, want %d", delivered, c.delivered)
			}
		})
	}
}

func TestHTTPFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule   Rule
		method string
		check  func(t *testing.T, resp *http.Response, err error, received int)
	}{
		"unavailable": {Rule{ErrorRate: 1}, http.MethodPut, wantStatus(503)},
		"too many":    {Rule{ErrorRate: 1, Code: "RESOURCE_EXHAUSTED"}, http.MethodPut, wantStatus(429)},
		"lost": {Rule{LostRate: 1}, http.MethodPut, func(t *testing.T, _ *http.Response, err error, received int) {
			if err == nil || received != 1000 {
				t.Errorf("error %v after the server read %d bytes, want a broken connection after 1000", err, received)
			}
		}},
		"upload cut": {Rule{CutRate: 1, CutAfter: 100}, http.MethodPut, func(t *testing.T, _ *http.Response, err error, received int) {
			if err == nil || received != 100 {
				t.Errorf("error %v after the server read %d bytes, want a broken connection after 100", err, received)
			}
		}},
		"download cut": {Rule{CutRate: 1, CutAfter: 100}, http.MethodGet, func(t *testing.T, resp *http.Response, err error, _ int) {
			if err != nil {
				t.Fatalf("GET = %v", err)
			}
			if body, err := io.ReadAll(resp.Body); len(body) != 100 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read %d bytes, %v; want 100 and an unexpected EOF", len(body), err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			received := make(chan int, 1)
			in := injector(t, map[string]Rule{"Storage/*": c.rule})
			srv := httptest.NewServer(in.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				received <- int(n)
				_, _ = w.Write(make([]byte, 1000))
			})))
			defer srv.Close()
			req, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL+"/upload/storage/v1/b/x/o", strings.NewReader(strings.Repeat("x", 1000)))
			if err != nil {
				t.Fatalf("NewRequest() = %v", err)
			}
			resp, err := srv.Client().Do(req)
			if err == nil {
				defer func() { _ = resp.Body.Close() }()
			}
			got := 0
			if len(received) > 0 {
				got = <-received
			}
			c.check(t, resp, err, got)
		})
	}
}

func wantStatus(want int) func(*testing.T, *http.Response, error, int) {
	return func(t *testing.T, resp *http.Response, err error, received int) {
		if err != nil || resp.StatusCode != want || received != 0 {
			t.Errorf("answer %v, %v with %d bytes read by the server; want %d and none", resp, err, received, want)
		}
	}
}

func TestStorageMethod(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, url, want string }{
		{"GET", "/storage/v1/b?project=p", "Bucket"},
		{"POST", "/storage/v1/b/x", "Bucket"},
		{"GET", "/storage/v1/b/x/o?prefix=a", "ListObjects"},
		{"GET", "/storage/v1/b/x/o/a%2Fb", "GetObject"},
		{"GET", "/storage/v1/b/x/o/a%2Fcompose", "GetObject"},
		{"GET", "/storage/v1/b/x/o/a?alt=media", "Download"},
		{"GET", "/download/storage/v1/b/x/o/a?alt=media", "Download"},
		{"GET", "/x/a/b.csv?X-Goog-Signature=1", "Download"},
		{"PATCH", "/storage/v1/b/x/o/a", "UpdateObject"},
		{"DELETE", "/storage/v1/b/x/o/a", "DeleteObject"},
		{"POST", "/storage/v1/b/x/o/a/compose", "ComposeObject"},
		{"POST", "/storage/v1/b/x/o/a/rewriteTo/b/y/o/z", "RewriteObject"},
		{"POST", "/upload/storage/v1/b/x/o?uploadType=multipart", "Upload"},
		{"POST", "/upload/storage/v1/b/x/o?uploadType=resumable", "StartUpload"},
		{"PUT", "/upload/storage/v1/b/x/o?uploadType=resumable&upload_id=1", "UploadChunk"},
		{"POST", "/x/a/b.csv?uploads", "StartUpload"},
		{"PUT", "/x/a/b.csv?partNumber=1&uploadId=u", "UploadChunk"},
		{"POST", "/x/a/b.csv?uploadId=u", "CompleteUpload"},
		{"DELETE", "/x/a/b.csv?uploadId=u", "AbortUpload"},
		{"GET", "/x/a/b.csv?uploadId=u", "ListUploads"},
		{"GET", "/x?uploads", "ListUploads"},
		{"POST", "/signBlob", "SignBlob"},
	} {
		if got := StorageMethod(httptest.NewRequest(c.method, c.url, nil)); got != c.want {
			t.Errorf("StorageMethod(%s %s) = %s, want %s", c.method, c.url, got, c.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	in := injector(t, map[string]Rule{"*": {ErrorRate: 1}})
	for name, rules := range map[string]map[string]Rule{
		"rate over 1":   {"*": {DropRate: 1.5}},
		"negative rate": {"*": {CutRate: -1}},
		"no such code":  {"*": {Code: "BROKEN"}},
		"ok is no code": {"*": {Code: "OK"}},
		"no method":     {"Firestore": {}},
		"full name":     {"/google.firestore.v1.Firestore/Commit": {}},
		"endless delay": {"*": {DelayMS: 1 << 30}},
		"negative rows": {"*": {RowsPerSecond: -1}},
		"negative cut":  {"*": {CutAfter: -1}},
	} {
		if err := in.Set(Config{Rules: rules}); err == nil {
			t.Errorf("Set(%s) = nil, want an error", name)
		}
	}
	if got := in.Config().Rules["*"].ErrorRate; got != 1 {
		t.Errorf("after refused configurations the error rate is %v, want 1", got)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	in := injector(t, nil)
	do := func(method, path, body, origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "127.0.0.1:1234"
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		in.Control(nil, nil).ServeHTTP(w, r)
		return w
	}
	if w := do("PUT", "/faults", `{"seed":3,"rules":{"*":{"errorRate":0.5}}}`, ""); w.Code != 200 || in.Config().Seed != 3 {
		t.Errorf("PUT /faults = %d %s", w.Code, w.Body)
	}
	if w := do("GET", "/faults", "", ""); !strings.Contains(w.Body.String(), `"errorRate": 0.5`) {
		t.Errorf("GET /faults = %s", w.Body)
	}
	if w := do("PUT", "/faults", `{"rule":{}}`, ""); w.Code != 400 {
		t.Errorf("PUT /faults with an unknown field = %d, want 400", w.Code)
	}
	if w := do("PUT", "/faults", `{"rules":{"x":{}}}`, ""); w.Code != 400 || in.Config().Seed != 3 {
		t.Errorf("PUT /faults with a bad rule = %d, want 400 and the old rules", w.Code)
	}
	if w := do("POST", "/counters/reset", "", "http://example.com"); w.Code != 403 {
		t.Errorf("POST from a web page = %d, want 403", w.Code)
	}
	rebound := httptest.NewRequest("POST", "/counters/reset", nil)
	rebound.Host = "evil.example:1234"
	w := httptest.NewRecorder()
	if in.Control(nil, nil).ServeHTTP(w, rebound); w.Code != 403 {
		t.Errorf("POST for another host = %d, want 403", w.Code)
	}
	if w := do("POST", "/counters/reset", "", ""); w.Code != 204 {
		t.Errorf("POST /counters/reset = %d, want 204", w.Code)
	}
	if w := do("GET", "/counters", "", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"documentsRead": 0`) {
		t.Errorf("GET /counters = %d %s", w.Code, w.Body)
	}
}
