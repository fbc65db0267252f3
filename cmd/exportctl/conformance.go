package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// verdict is what came of a case of conformance.
type verdict struct {
	Case string `json:"case"`
	// OK, or Skipped with the reason in Got.
	OK      bool `json:"ok"`
	Skipped bool `json:"skipped,omitempty"`
	// Got is what was seen, Remedy what is to be done about it.
	Got    string `json:"got"`
	Remedy string `json:"remedy,omitempty"`
}

func (a *app) conformanceCommand() *cobra.Command {
	cmd := parent("conformance", "Try whether a receiver or a program of yours does what the contract asks of it", a.conformanceReceiver(), a.conformanceClient())
	cmd.Long = `Runs an integration of yours against what will happen to it one day, and prints a line for
each case, with what to do where it fails. Ends with 1 if one does.

  exportctl conformance receiver https://hooks.example.com/exports      callbacks, good and bad; with
                                                --through-service those that the service sends
  exportctl conformance client -- python3 /srv/nightly.py               refusals, failures, broken downloads`
	return cmd
}

// showVerdicts prints what came of all cases, and is the error of those that failed.
func (a *app) showVerdicts(verdicts []verdict) error {
	failed := 0
	for _, v := range verdicts {
		if !v.OK && !v.Skipped {
			failed++
		}
	}
	if a.asJSON {
		raw, err := json.Marshal(map[string]any{"cases": verdicts, "failed": failed})
		if err != nil {
			return err
		}
		if err := a.printJSON(raw); err != nil {
			return err
		}
	} else {
		rows := make([][]cell, len(verdicts))
		for i, v := range verdicts {
			state := cell{"ok", green}
			switch {
			case v.Skipped:
				state = cell{"skipped", yellow}
			case !v.OK:
				state = cell{"failed", red}
			}
			rows[i] = []cell{words(v.Case), state, words(v.Got), words(v.Remedy)}
		}
		a.table([]column{{name: "CASE"}, {name: "RESULT"}, {name: "GOT", flexible: true}, {name: "WHAT TO DO", flexible: true}}, rows)
		a.say("%d of %d cases failed.", failed, len(verdicts))
	}
	if failed > 0 {
		return &reportedError{exitFailed}
	}
	return nil
}

// runCases runs cases one after the other, until ctx ends.
func runCases[C any](ctx context.Context, cases []C, run func(context.Context, C) verdict) ([]verdict, error) {
	var out []verdict
	for _, c := range cases {
		v := run(ctx, c)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("conformance: %w", ctx.Err())
		}
		out = append(out, v)
	}
	return out, nil
}

// onlyNamed leaves the cases that are named, or all.
func onlyNamed[C any](cases []C, name func(C) string, only []string) ([]C, error) {
	if len(only) == 0 {
		return cases, nil
	}
	cases = slices.DeleteFunc(slices.Clone(cases), func(c C) bool { return !slices.Contains(only, name(c)) })
	if len(cases) == 0 {
		return nil, &usageError{text: "--only names no case", hint: "The cases are those that are printed without --only."}
	}
	return cases, nil
}
