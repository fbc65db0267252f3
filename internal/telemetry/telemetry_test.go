package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// logged gives the one line that fn logs.
func logged(t *testing.T, fn func(*zap.Logger)) map[string]any {
	t.Helper()
	var out bytes.Buffer
	log, err := NewLogger(&out, LogConfig{Level: "debug", Service: "exportd-worker", Version: "0.2.0"})
	if err != nil {
		t.Fatal(err)
	}
	fn(log)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	return line
}

// TestCloudLogging: lines have what Cloud Logging takes its own fields from, under those names.
func TestCloudLogging(t *testing.T) {
	t.Parallel()
	for want, fn := range map[string]func(*zap.Logger){
		"DEBUG":    func(l *zap.Logger) { l.Debug("m") },
		"INFO":     func(l *zap.Logger) { l.Info("m") },
		"WARNING":  func(l *zap.Logger) { l.With(zap.Int("a", 1)).Warn("m") },
		"ERROR":    func(l *zap.Logger) { l.Error("m") },
		"CRITICAL": func(l *zap.Logger) { l.DPanic("m") },
	} {
		line := logged(t, fn)
		if line["severity"] != want || line["message"] != "m" {
			t.Errorf("%s: %v", want, line)
		}
		if _, err := time.Parse(time.RFC3339Nano, line["time"].(string)); err != nil {
			t.Error(err)
		}
		_, reported := line["@type"]
		if severe := want == "ERROR" || want == "CRITICAL"; reported != severe {
			t.Errorf("%s is reported as an error: %t", want, reported)
		}
	}
	line := logged(t, func(l *zap.Logger) {
		l.Info("request", zap.Object("httpRequest", HTTPRequest{
			Method: "GET", Route: "/exports/:id", Status: 200, Bytes: 12, Took: 1234567 * time.Microsecond, UserAgent: "curl", RemoteIP: "192.0.2.1", Protocol: "HTTP/1.1",
		}))
	})
	want := `{"latency":"1.234567s","protocol":"HTTP/1.1","remoteIp":"192.0.2.1","requestMethod":"GET","requestUrl":"/exports/:id","responseSize":"12","status":200,"userAgent":"curl"}`
	if got, _ := json.Marshal(line["httpRequest"]); string(got) != want {
		t.Errorf("httpRequest = %s, want %s", got, want)
	}
}

// TestErrorReporting: an error says where it was logged and by which build, a panic has its stack.
func TestErrorReporting(t *testing.T) {
	t.Parallel()
	line := logged(t, func(l *zap.Logger) { l.Error("cannot", zap.Error(errors.New("x"))) })
	if line["@type"] != reportedType {
		t.Errorf("@type = %v", line["@type"])
	}
	if got, _ := json.Marshal(line["serviceContext"]); string(got) != `{"service":"exportd-worker","version":"0.2.0"}` {
		t.Errorf("serviceContext = %s", got)
	}
	at := line["context"].(map[string]any)["reportLocation"].(map[string]any)
	if !strings.HasSuffix(at["filePath"].(string), "telemetry_test.go") || !strings.Contains(at["functionName"].(string), "TestErrorReporting") || at["lineNumber"].(float64) < 1 {
		t.Errorf("reportLocation = %v", at)
	}
	line = logged(t, func(l *zap.Logger) { l.Error("request", StackTrace("boom", debug.Stack())) })
	if trace := line["stack_trace"].(string); !strings.HasPrefix(trace, "panic: boom\n\ngoroutine ") || !strings.Contains(trace, "TestErrorReporting") {
		t.Errorf("stack_trace = %s", trace)
	}
}

// TestTraceFields: only sane headers lead to a trace.
func TestTraceFields(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, tc := range []struct{ name, value, want, span string }{
		{"traceparent", "00-" + trace + "-" + span + "-01", trace, span},
		{"traceparent", "01-" + trace + "-" + span + "-01-more", trace, span},
		{"traceparent", "00-" + trace + "-" + span + "-01-more", "", ""},
		{"traceparent", "ff-" + trace + "-" + span + "-01", "", ""},
		{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", "", ""},
		{"traceparent", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", "", ""},
		{"traceparent", "00-" + strings.ToUpper(trace) + "-" + span + "-01", "", ""},
		{"traceparent", "00-../../other-" + span + "-01", "", ""},
		{"X-Cloud-Trace-Context", strings.ToUpper(trace) + "/255;o=1", trace, "00000000000000ff"},
		{"X-Cloud-Trace-Context", trace + "/18446744073709551615", trace, "ffffffffffffffff"},
		{"X-Cloud-Trace-Context", trace, "", ""},
		{"X-Cloud-Trace-Context", trace + "/0;o=1", "", ""},
		{"X-Cloud-Trace-Context", trace + "/x", "", ""},
		{"Other", trace, "", ""},
	} {
		h := http.Header{}
		h.Set(tc.name, tc.value)
		fields := TraceFields(h, "p1")
		if tc.want == "" {
			if len(fields) != 0 {
				t.Errorf("%s: %s gives %v", tc.name, tc.value, fields)
			}
			continue
		}
		if len(fields) != 2 || fields[0].String != "projects/p1/traces/"+tc.want || fields[1].String != tc.span {
			t.Errorf("%s: %s gives %v, want %s %s", tc.name, tc.value, fields, tc.want, tc.span)
		}
	}
	if fields := TraceFields(http.Header{"Traceparent": {"00-" + trace + "-" + span + "-01"}}, ""); fields != nil {
		t.Errorf("without a project = %v", fields)
	}
}
