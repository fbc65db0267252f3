package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks a person. Where nobody can be asked, --yes must have said so.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.stdinTerminal {
		return &usageError{text: "this asks before it acts, and standard input is not a terminal", hint: "To act without being asked: --yes"}
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", clean(question, false))
	// The read cannot be interrupted, and Ctrl-C must end the program: the read is left behind.
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n') // no answer is no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return interruptedError{}
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
	}
	a.say("Nothing was done.")
	return &reportedError{exitFailed}
}
