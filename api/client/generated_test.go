package client

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every signed operation of openapi.yaml has its method; what else there is in the generated code is for `go
// generate` to keep.
func TestGeneratedHasAllOperations(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths, _, _ := strings.Cut(string(text), "\nwebhooks:")
	operations := regexp.MustCompile(`operationId: (\w+)\n +tags: \[(\w+)\]`).FindAllStringSubmatch(paths, -1)
	if len(operations) < 30 {
		t.Fatalf("found %d operations only", len(operations))
	}
	client := reflect.TypeFor[*ClientWithResponses]()
	var methods []string
	for i := range client.NumMethod() {
		methods = append(methods, strings.ToLower(client.Method(i).Name))
	}
	for _, o := range operations {
		if has := slices.Contains(methods, strings.ToLower(o[1])+"withresponse"); has == (o[2] == "Service") {
			t.Errorf("operation %s (%s) has a method: %t; run go generate ./api/client", o[1], o[2], has)
		}
	}
}
