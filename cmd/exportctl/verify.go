package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) jobsVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify JOB FILE", Short: "Compare a file with what the service wrote as a job's, part by part, by SHA-256",
		Args: jobAndFile, ValidArgsFunction: a.completeJobAndFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, c, err := a.dial(false, fewAttempts)
			if err != nil {
				return err
			}
			broken, err := c.Verify(cmd.Context(), args[0], args[1])
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				err = a.printValue(map[string]any{"broken": append([]client.FilePart{}, broken...)})
			}
			if len(broken) == 0 {
				a.say("%s is the file of job %s: each part is as it was written.", args[1], args[0])
				return err
			}
			rows := make([][]cell, len(broken))
			for i, part := range broken {
				rows[i] = []cell{number(part.Offset), number(part.SizeBytes), number(part.Rows)}
			}
			if !a.asJSON {
				a.table([]column{{name: "OFFSET", right: true}, {name: "BYTES", right: true}, {name: "ROWS", right: true}}, rows)
			}
			return errors.Join(err, &hinted{
				fmt.Errorf("%s: %s not as the service wrote %s", args[1], plural(int64(len(broken)), "part is", "parts are"), itThem(int64(len(broken)))),
				"Bring it again:  " + p.command("jobs", "download", args[0], "-o", args[1]),
			})
		},
	}
}

func (a *app) completeJobAndFile(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault // which are files
	}
	return a.completeJobs(false)(cmd, args, begun)
}

// jobAndFile are the arguments of jobs verify.
func jobAndFile(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return &usageError{text: fmt.Sprintf("%s takes a job id and a file, and got %d arguments", cmd.CommandPath(), len(args)), hint: "like: " + cmd.UseLine()}
	}
	return nil
}
