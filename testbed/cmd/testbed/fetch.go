package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/testbed"
)

// fetch goes on after a server that can not be had, and fails at the end.
func fetch(ctx context.Context, names []string) error {
	if len(names) == 0 {
		names = testbed.Default()
	}
	var failures []error
	for _, name := range names {
		fetched, err := testbed.Fetch(ctx, name, progress)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		fmt.Printf("%-14s %-18s %5d MB  %s\n", fetched.Name, fetched.Version, fetched.Bytes/1_000_000, fetched.Dir)
	}
	return errors.Join(failures...)
}

func printCache() error {
	dir, err := testbed.CacheDir()
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}
