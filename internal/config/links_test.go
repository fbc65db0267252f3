package config_test

import (
	"strings"
	"testing"

	"exportd/internal/config"
)

// Links of the console lead where the operator of the service says, and nothing of a job can change that.
func TestConsoleLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, says string }{
		{"EXPORTD_CONSOLE_LOGS_URL", "", ""},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example/q?job={jobId}&r={requestId}&t={traceId}", ""},
		{"EXPORTD_CONSOLE_LOGS_URL", "http://127.0.0.1:3000/explore?job={jobId}", ""},
		{"EXPORTD_CONSOLE_LOGS_URL", "http://localhost:3000/{jobId}", ""},
		{"EXPORTD_CONSOLE_LOGS_URL", "http://logs.example/{jobId}", "an https URL"},
		{"EXPORTD_CONSOLE_LOGS_URL", "http://127.0.0.1.example/{jobId}", "an https URL"},
		{"EXPORTD_CONSOLE_LOGS_URL", "javascript:alert('{jobId}')", "an https URL"},
		{"EXPORTD_CONSOLE_LOGS_URL", "//logs.example/{jobId}", "an https URL"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example/", "{jobId} is missing"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example/{jobid}", "{jobid} is nothing that is filled in: there are {jobId}"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example/{jobId}?{orgId}", "{orgId} is nothing"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://{jobId}.example/", "behind the host"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example:8443{jobId}", "an https URL"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://logs.example/{jobId}/{", "behind the host"},
		{"EXPORTD_CONSOLE_LOGS_URL", "https://me:secret@logs.example/{jobId}", "without user and password"},
		{"EXPORTD_CONSOLE_TRACE_URL", "https://traces.example/trace/{traceId}", ""},
		{"EXPORTD_CONSOLE_TRACE_URL", "https://console.cloud.google.com/traces/explorer;traceId={traceId}?project=p", ""},
		{"EXPORTD_CONSOLE_TRACE_URL", "https://traces.example/{jobId}", "{traceId} is missing"},
		{"EXPORTD_CONSOLE_TRACE_URL", "ftp://traces.example/{traceId}", "an https URL"},
	} {
		cfg, err := config.Load(func(name string) string {
			return map[string]string{"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", c.name: c.value}[name]
		}, nil)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s=%s is refused: %v", c.name, c.value, err)
		case c.says == "" && cfg.ConsoleLogsURL+cfg.ConsoleTraceURL != c.value:
			t.Errorf("%s=%s is %q and %q", c.name, c.value, cfg.ConsoleLogsURL, cfg.ConsoleTraceURL)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.says)
		}
	}
}
