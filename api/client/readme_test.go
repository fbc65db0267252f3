package client_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadme holds the README's program, and that of examples/quickstart, to ExampleClient_Export, which
// TestRealService runs.
func TestReadme(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(example), "func ExampleClient_Export() {\n\t")
	body, _, ok := strings.Cut(body, "\n}\n")
	quickstart, err := os.ReadFile("examples/quickstart/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(quickstart), "func main() {\n\t"+body+"\n}\n") {
		t.Error("examples/quickstart has another program than ExampleClient_Export")
	}
	if program := strings.ReplaceAll(body, "\n\t", "\n"); !ok || !strings.Contains(string(readme), "```go\n"+program+"\n```") {
		t.Errorf("the README has another program than ExampleClient_Export, which is:\n%s", program)
	}
}
