package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A pod is what is read of the JSON of a pod.
type pod struct {
	Metadata struct {
		Name, Namespace   string
		DeletionTimestamp *string
		Annotations       map[string]string
	}
	Spec struct {
		NodeName            string
		Containers          []container
		InitContainers      []container
		EphemeralContainers []container
	}
	Status struct {
		Phase, Reason, Message string
		Conditions             []condition
		ContainerStatuses      []struct {
			State struct {
				Waiting    *struct{ Reason, Message string }
				Running    *struct{}
				Terminated *struct {
					ExitCode        int
					Reason, Message string
				}
			}
		}
	}
}

type container struct{ Name, RestartPolicy string }

type condition struct {
	Type, Status, Reason, Message string
	LastHeartbeatTime             time.Time
}

// find returns the pod of a name, with its namespace and, if it must be one container, with that.
func (o *options) find(ctx context.Context, name podName, one bool) (podName, *pod, error) {
	args := []string{"get", "pod", name.pod, "-o", "json"}
	if name.namespace != "" {
		args = append(args, "-n", name.namespace)
	}
	var p pod
	if err := o.ask(ctx, &p, args...); err != nil {
		if notFound(err, "pods") {
			where := ""
			if name.namespace != "" {
				where = " in the namespace " + name.namespace
			}
			return name, nil, fmt.Errorf("there is no pod %s%s", name.pod, where)
		}
		return name, nil, o.explain(err)
	}
	name.namespace = p.Metadata.Namespace
	switch p.Status.Phase {
	case "Succeeded", "Failed":
		return name, nil, fmt.Errorf("the pod %s/%s has ended (%s)", name.namespace, name.pod, p.Status.Phase)
	}
	if p.Spec.NodeName == "" {
		why := p.Status.Phase
		for _, c := range p.Status.Conditions {
			if c.Type == "PodScheduled" && c.Status != "True" && c.Message != "" {
				why = c.Message
			}
		}
		return name, nil, fmt.Errorf("the pod %s/%s is on no node yet: %s", name.namespace, name.pod, why)
	}
	var long, all []string
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers, p.Spec.EphemeralContainers) {
		all = append(all, c.Name)
	}
	for _, c := range p.Spec.Containers {
		long = append(long, c.Name)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == "Always" {
			long = append(long, c.Name)
		}
	}
	usual := p.Metadata.Annotations["kubectl.kubernetes.io/default-container"]
	switch {
	case name.container != "" && !slices.Contains(all, name.container):
		return name, nil, fmt.Errorf("the pod %s/%s has no container %s: it has %s", name.namespace, name.pod, name.container, strings.Join(all, ", "))
	case name.container != "" || !one:
	case slices.Contains(long, usual):
		name.container = usual
	case len(long) > 1:
		return name, nil, fmt.Errorf("the pod %s/%s has %d containers, name one: %s/%s/%s", name.namespace, name.pod, len(long), name.namespace, name.pod, strings.Join(long, fmt.Sprintf(" or %s/%s/", name.namespace, name.pod)))
	default:
		name.container = long[0]
	}
	return name, &p, nil
}

// A node is what is read of the JSON of a node.
type node struct {
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Status struct{ Conditions []condition }
}

// gone is an error if no pod can run on the node: its kubelet does not report any more.
func (n *node) gone() error {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" && c.Status == "Unknown" {
			return fmt.Errorf("the node %s is gone: its kubelet has not reported since %s", n.Metadata.Name, c.LastHeartbeatTime.Format(time.RFC3339))
		}
	}
	if system := n.Metadata.Labels["kubernetes.io/os"]; system != "" && system != "linux" {
		return fmt.Errorf("the node %s runs %s, and nstool is for Linux", n.Metadata.Name, system)
	}
	return nil
}

// checkNode finds out that there is a node of that name, and that it is not gone. Who may not look
// at nodes learns so later.
func (o *options) checkNode(ctx context.Context, name string) error {
	var n node
	err := o.ask(ctx, &n, "get", "node", name, "-o", "json")
	switch {
	case err == nil:
		return n.gone()
	case notFound(err, "nodes"):
		names := "kubectl get nodes lists them"
		if all, err := o.allNodes(ctx); err == nil && len(all) <= 10 {
			names = "there is " + all[0].Metadata.Name
			for _, n := range all[1:] {
				names += ", " + n.Metadata.Name
			}
		}
		return fmt.Errorf("there is no node %s: %s", name, names)
	case isForbidden(err):
		return nil
	}
	return o.explain(err)
}

// allNodes returns all nodes.
func (o *options) allNodes(ctx context.Context) ([]node, error) {
	var list struct{ Items []node }
	if err := o.ask(ctx, &list, "get", "nodes", "-o", "json"); err != nil {
		return nil, o.explain(err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("the cluster has no nodes")
	}
	return list.Items, nil
}
