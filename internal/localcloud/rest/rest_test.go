package rest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/rest"
)

// caller stands for a server: it keeps what it is asked, and streams what the test sends.
type caller struct {
	method string
	in     proto.Message
	fail   error
	rows   chan error // nil for a row
}

func (c *caller) Invoke(_ context.Context, method string, in, out any, _ ...grpc.CallOption) error {
	c.method, c.in = method, proto.Clone(in.(proto.Message))
	if doc, ok := out.(*firestorepb.Document); ok {
		doc.Name = "made"
	}
	return c.fail
}

func (c *caller) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	c.method = method
	return &rows{c: c}, nil
}

type rows struct{ c *caller }

func (r *rows) Header() (metadata.MD, error) { return nil, nil }
func (r *rows) Trailer() metadata.MD         { return nil }
func (r *rows) CloseSend() error             { return nil }
func (r *rows) Context() context.Context     { return context.Background() }
func (r *rows) SendMsg(m any) error          { r.c.in = proto.Clone(m.(proto.Message)); return nil }
func (r *rows) RecvMsg(m any) error {
	err, ok := <-r.c.rows
	if !ok {
		return io.EOF
	}
	if resp, is := m.(*firestorepb.RunQueryResponse); is {
		resp.SkippedResults = 7
	}
	return err
}

func serve(t *testing.T, c *caller) string {
	t.Helper()
	service := firestorepb.File_google_firestore_v1_firestore_proto.Services().ByName("Firestore")
	h, err := rest.New(c, func(m protoreflect.MethodDescriptor, path string) bool {
		_, below, _ := strings.Cut(path, "/documents")
		return m.Name() != "GetDocument" || strings.Count(below, "/") == 2
	}, service)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return web.URL
}

func TestUnary(t *testing.T) {
	t.Parallel()
	const docs = "/v1/projects/p/databases/d/documents"
	for name, step := range map[string]struct {
		verb, path, body string
		fail             error
		code             int
		answer           string // part of it
		method           string
		want             proto.Message
	}{
		"body and path": {"POST", docs + ":commit", `{"writes":[{"delete":"x"}]}`, nil, 200, "{", "Commit",
			&firestorepb.CommitRequest{Database: "projects/p/databases/d", Writes: []*firestorepb.Write{{Operation: &firestorepb.Write_Delete{Delete: "x"}}}}},
		"a field is the body": {"PATCH", docs + "/c/one?updateMask.fieldPaths=a&updateMask.fieldPaths=b&currentDocument.exists=true", `{"fields":{}}`, nil, 200, `"made"`, "UpdateDocument",
			&firestorepb.UpdateDocumentRequest{Document: &firestorepb.Document{Name: "projects/p/databases/d/documents/c/one"}, UpdateMask: &firestorepb.DocumentMask{FieldPaths: []string{"a", "b"}},
				CurrentDocument: &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: true}}}},
		"escaped":        {"GET", docs + "/c/a%20b?alt=json&prettyPrint=false", "", nil, 200, `"made"`, "GetDocument", &firestorepb.GetDocumentRequest{Name: "projects/p/databases/d/documents/c/a b"}},
		"refused":        {"GET", docs + "/c/one", "", status.Error(codes.NotFound, "gone"), 404, `"status":"NOT_FOUND"`, "GetDocument", nil},
		"no field":       {"GET", docs + "/c/one?nothing=1", "", nil, 400, `unknown name \"nothing\"`, "", nil},
		"no JSON":        {"POST", docs + ":commit", `{"writes":`, nil, 400, "invalid JSON payload", "", nil},
		"no number":      {"GET", docs + "/c?pageSize=many", "", nil, 400, "invalid value of pageSize", "", nil},
		"no method":      {"PUT", docs + "/c/one", "", nil, 404, "there is no method", "", nil},
		"not that field": {"GET", docs + "/c/one?name.x=1", "", nil, 400, "invalid path", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &caller{fail: step.fail}
			req, err := http.NewRequest(step.verb, serve(t, c)+step.path, strings.NewReader(step.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != step.code || !strings.Contains(strings.ReplaceAll(string(body), `": "`, `":"`), step.answer) {
				t.Errorf("%d %s, %v; want %d with %s", resp.StatusCode, body, err, step.code, step.answer)
			}
			if got := strings.TrimPrefix(c.method, "/google.firestore.v1.Firestore/"); got != step.method {
				t.Errorf("method %q, want %q", got, step.method)
			}
			if step.want != nil && !proto.Equal(c.in, step.want) {
				t.Errorf("request %v, want %v", c.in, step.want)
			}
		})
	}
}

// An element is sent when it is there, and the array is closed whatever ends the stream.
func TestStream(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]struct {
		end  error
		want string
	}{
		"to the end": {nil, "]\n"},
		"broken":     {status.Error(codes.Aborted, "no more"), `,` + "\n" + `{"error":{"code":409,"message":"no more","status":"ABORTED"}}]` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &caller{rows: make(chan error)}
			resp := make(chan *http.Response, 1)
			url := serve(t, c)
			go func() {
				r, err := http.Post(url+"/v1/projects/p/databases/d/documents:runQuery", "", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
				}
				resp <- r
			}()
			c.rows <- nil
			r := <-resp // whose header comes with the first row
			if r == nil {
				return
			}
			defer func() { _ = r.Body.Close() }()
			in := bufio.NewReader(r.Body)
			first, err := in.ReadString('}')
			if err != nil || !strings.HasPrefix(first, "[{") {
				t.Errorf("first element %q, %v", first, err)
			}
			if step.end != nil {
				c.rows <- step.end
			}
			close(c.rows)
			rest, err := io.ReadAll(in)
			if err != nil || string(rest) != step.want {
				t.Errorf("then %q, %v; want %q", rest, err, step.want)
			}
		})
	}
	t.Run("without rows", func(t *testing.T) {
		t.Parallel()
		for end, want := range map[error]string{io.EOF: "[]\n", status.Error(codes.InvalidArgument, "bad"): `"INVALID_ARGUMENT"`} {
			c := &caller{rows: make(chan error, 1)}
			c.rows <- end
			r, err := http.Post(serve(t, c)+"/v1/projects/p/databases/d/documents:runQuery", "", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err = errors.Join(err, r.Body.Close()); err != nil || !strings.Contains(string(body), want) {
				t.Errorf("%q, %v; want %q", body, err, want)
			}
		}
	})
}
