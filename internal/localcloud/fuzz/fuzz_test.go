package fuzz

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

const (
	// hang is after how long a call counts as one that does not end. The longest that anything may wait by
	// itself is 20 s (a pull that finds nothing).
	hang = time.Minute
	// A call may allocate, over all of its life and in client and server together, what any call does, and
	// some bytes for each that was sent: decoded, encoded as index entries, and sent back.
	callBytes, perByte = 48 << 20, 2000
)

// watch looks at what a call does to the process. Servers log to it what they are at fault for.
type watch struct {
	mu   sync.Mutex
	logs strings.Builder
}

// Write implements io.Writer.
func (w *watch) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(line)
}

func (w *watch) zap() *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(w), zapcore.ErrorLevel))
}

func (w *watch) slog() *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelError}))
}

// call runs do, which has sent so many bytes, and fails the test if it hangs, takes too much memory, or
// brings a line of log that says that the server is at fault.
func (w *watch) call(t *testing.T, sent int, do func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	before := allocated()
	do(ctx)
	if ctx.Err() != nil {
		t.Fatalf("no end after %s", hang)
	}
	if took, most := allocated()-before, uint64(callBytes+perByte*sent); took > most {
		t.Errorf("%d bytes allocated for %d sent, want %d at most", took, sent, most)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logs.Len() > 0 {
		t.Errorf("the server logs: %s", w.logs.String())
		w.logs.Reset()
	}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// row is a call of the table by which clients are judged: the seeds.
type row struct {
	Service string          `json:"service"`
	Call    string          `json:"call"`
	Request json.RawMessage `json:"request"`
}

const (
	project  = "projects/p"
	database = project + "/databases/(default)"
)

func rows(f *testing.F, service string) (out []row) {
	f.Helper()
	raw, err := os.ReadFile("../conformance/testdata/calls.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []row
	if err := json.Unmarshal([]byte(strings.NewReplacer("$DB", database, "$P", project).Replace(string(raw))), &all); err != nil {
		f.Fatal(err)
	}
	for _, r := range all {
		if r.Service == service {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		f.Fatalf("the table has no call of %s", service)
	}
	return out
}

// method is one that a target can call.
type method struct {
	protoreflect.MethodDescriptor
	full string
}

func methods(services ...protoreflect.ServiceDescriptor) (out []method) {
	for _, s := range services {
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			out = append(out, method{m, fmt.Sprintf("/%s/%s", s.FullName(), m.Name())})
		}
	}
	return out
}

// wire is a request as a client sends it.
func wire(f *testing.F, m method, request []byte) []byte {
	f.Helper()
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	if err != nil {
		f.Fatal(err)
	}
	in := t.New().Interface()
	if len(request) > 0 {
		if err := protojson.Unmarshal(request, in); err != nil {
			f.Fatalf("%s: %v", m.full, err)
		}
	}
	raw, err := proto.Marshal(in)
	if err != nil {
		f.Fatal(err)
	}
	return raw
}
