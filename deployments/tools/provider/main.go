// Command provider stands in for hashicorp/google where `terraform validate` and `terraform test` look at
// deployments/terraform: it knows the resources that are used there by names, types and which are required,
// and makes nothing. Tests install it under the real one's name; no person needs it.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// schema is what the provider's version 6.50.0 says of these resources. Optional attributes count as computed
// too: which are is not told, and a plan with mocks does not need it.
//
//go:embed schema.json
var schema []byte

func main() {
	s, err := read(schema)
	if err == nil {
		err = tf5server.Serve("registry.terraform.io/hashicorp/google", func() tfprotov5.ProviderServer { return s })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(1)
	}
}

type block struct {
	Attributes map[string]struct {
		Type                         json.RawMessage
		Required, Optional, Computed bool
	}
	BlockTypes map[string]struct {
		Nesting string `json:"nesting_mode"`
		Min     int64  `json:"min_items"`
		Max     int64  `json:"max_items"`
		Block   block
	} `json:"block_types"`
}

func read(raw []byte) (*server, error) {
	var all struct {
		Resources map[string]block `json:"resource_schemas"`
		Data      map[string]block `json:"data_source_schemas"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	s := &server{schemas: &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{Attributes: providerAttributes()}},
		ResourceSchemas:   map[string]*tfprotov5.Schema{},
		DataSourceSchemas: map[string]*tfprotov5.Schema{},
		ServerCapabilities: &tfprotov5.ServerCapabilities{
			GetProviderSchemaOptional: true,
		},
	}}
	for into, from := range map[*map[string]*tfprotov5.Schema]map[string]block{&s.schemas.ResourceSchemas: all.Resources, &s.schemas.DataSourceSchemas: all.Data} {
		for name, b := range from {
			converted, err := b.convert()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			(*into)[name] = &tfprotov5.Schema{Block: converted}
		}
	}
	return s, nil
}

// providerAttributes are those that a caller of the module usually sets.
func providerAttributes() (out []*tfprotov5.SchemaAttribute) {
	for _, name := range []string{"billing_project", "credentials", "impersonate_service_account", "project", "region", "zone"} {
		out = append(out, &tfprotov5.SchemaAttribute{Name: name, Type: tftypes.String, Optional: true})
	}
	return append(out, &tfprotov5.SchemaAttribute{Name: "user_project_override", Type: tftypes.Bool, Optional: true})
}

var nestings = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"list": tfprotov5.SchemaNestedBlockNestingModeList, "set": tfprotov5.SchemaNestedBlockNestingModeSet, "single": tfprotov5.SchemaNestedBlockNestingModeSingle,
}

func (b block) convert() (*tfprotov5.SchemaBlock, error) {
	out := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		//lint:ignore SA1019 it is the only reader of the form in which Terraform writes types
		t, err := tftypes.ParseJSONType(a.Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{Name: name, Type: t, Required: a.Required, Optional: a.Optional, Computed: a.Computed})
	}
	for name, n := range b.BlockTypes {
		inner, err := n.Block.convert()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{TypeName: name, Nesting: nestings[n.Nesting], MinItems: n.Min, MaxItems: n.Max, Block: inner})
	}
	slices.SortFunc(out.Attributes, func(a, b *tfprotov5.SchemaAttribute) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.BlockTypes, func(a, b *tfprotov5.SchemaNestedBlock) int { return strings.Compare(a.TypeName, b.TypeName) })
	return out, nil
}
