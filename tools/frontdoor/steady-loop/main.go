// Plays the steady loop of a cluster-autoscaler against any external gRPC provider, one call after another, as its
// client does, and prints what it cost as JSON.
//
// A loop of release 1.36 is: Refresh 1, NodeGroups 1, NodeGroupForNode N + 4U, TargetSize 3G, GetOptions 4 a busy node
// (2 before 1.35), TemplateNodeInfo 1 for every group without a node. Every answer is looked at: a wrong one ends the
// program.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "nodeset.dev/tools/frontdoor/externalgrpc"
	"nodeset.dev/tools/frontdoor/fleet"
)

const grpcTimeout = 5 * time.Second

type rpcReport struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
}

type report struct {
	Groups      int                  `json:"groups"`
	Nodes       int                  `json:"nodes"`
	Unmanaged   int                  `json:"unmanaged"`
	LoopSeconds float64              `json:"loop_seconds"`
	Loops       []float64            `json:"loops"`
	RPCs        map[string]rpcReport `json:"rpcs"`
}

type player struct {
	fleet     fleet.Fleet
	unmanaged int
	options   int
	client    pb.CloudProviderClient
	nodes     []*pb.ExternalGrpcNode
	others    []*pb.ExternalGrpcNode
	seconds   map[string][]float64
}

func newNode(name, providerID, group string) *pb.ExternalGrpcNode {
	return &pb.ExternalGrpcNode{
		ProviderID: providerID,
		Name:       name,
		Labels: map[string]string{
			"beta.kubernetes.io/arch":          "amd64",
			"beta.kubernetes.io/os":            "linux",
			"kubernetes.io/arch":               "amd64",
			"kubernetes.io/hostname":           name,
			"kubernetes.io/os":                 "linux",
			"node.kubernetes.io/instance-type": "c4.large",
			"nodeset.dev/node-class":           "general",
			"nodeset.dev/nodeset":              group,
			"topology.kubernetes.io/region":    "region-1",
			"topology.kubernetes.io/zone":      "region-1-a",
		},
		Annotations: map[string]string{
			"node.alpha.kubernetes.io/ttl":                           "0",
			"volumes.kubernetes.io/controller-managed-attach-detach": "true",
		},
	}
}

// call makes one call with the client's time-out and notes how long it took.
func call[Q, A any](p *player, name string, rpc func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) A {
	ctx, cancel := context.WithTimeout(context.Background(), grpcTimeout)
	defer cancel()
	start := time.Now()
	answer, err := rpc(ctx, request)
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	p.seconds[name] = append(p.seconds[name], time.Since(start).Seconds())
	return answer
}

func (p *player) groupOf(node *pb.ExternalGrpcNode, want string) {
	answer := call(p, "NodeGroupForNode", p.client.NodeGroupForNode, &pb.NodeGroupForNodeRequest{Node: node})
	if got := answer.GetNodeGroup().GetId(); got != want {
		log.Fatalf("NodeGroupForNode(%s): got %q, want %q", node.Name, got, want)
	}
}

func (p *player) targetSizes() {
	for i := range p.fleet.Groups {
		answer := call(p, "NodeGroupTargetSize", p.client.NodeGroupTargetSize, &pb.NodeGroupTargetSizeRequest{Id: p.fleet.Group(i)})
		if int(answer.GetTargetSize()) != p.fleet.Size(i) {
			log.Fatalf("TargetSize(%s): got %d, want %d", p.fleet.Group(i), answer.GetTargetSize(), p.fleet.Size(i))
		}
	}
}

func (p *player) otherNodes() {
	for _, node := range p.others {
		p.groupOf(node, "")
	}
}

func (p *player) getOptions(times int) {
	defaults := &pb.NodeGroupAutoscalingOptions{
		ScaleDownUtilizationThreshold:    0.5,
		ScaleDownGpuUtilizationThreshold: 0.5,
		ScaleDownUnneededDuration:        durationpb.New(10 * time.Minute),
		ScaleDownUnreadyDuration:         durationpb.New(20 * time.Minute),
		MaxNodeProvisionDuration:         durationpb.New(15 * time.Minute),
	}
	for n := range p.nodes {
		request := &pb.NodeGroupAutoscalingOptionsRequest{Id: p.fleet.Group(n % p.fleet.Groups), Defaults: defaults}
		for range times {
			call(p, "NodeGroupGetOptions", p.client.NodeGroupGetOptions, request)
		}
	}
}

func (p *player) loop() float64 {
	start := time.Now()
	call(p, "Refresh", p.client.Refresh, &pb.RefreshRequest{})
	groups := call(p, "NodeGroups", p.client.NodeGroups, &pb.NodeGroupsRequest{})
	if len(groups.GetNodeGroups()) != p.fleet.Groups {
		log.Fatalf("NodeGroups: got %d, want %d", len(groups.GetNodeGroups()), p.fleet.Groups)
	}
	for n, node := range p.nodes {
		p.groupOf(node, p.fleet.Group(n%p.fleet.Groups))
	}
	p.otherNodes()
	for i := range p.fleet.Groups {
		if p.fleet.Size(i) > 0 {
			continue
		}
		request := &pb.NodeGroupTemplateNodeInfoRequest{Id: p.fleet.Group(i)}
		if len(call(p, "NodeGroupTemplateNodeInfo", p.client.NodeGroupTemplateNodeInfo, request).GetNodeBytes()) == 0 {
			log.Fatalf("TemplateNodeInfo(%s): empty", p.fleet.Group(i))
		}
	}
	p.targetSizes()
	p.otherNodes()
	p.getOptions(p.options / 2)
	p.targetSizes()
	p.otherNodes()
	p.getOptions(p.options - p.options/2)
	p.targetSizes()
	p.otherNodes()
	return time.Since(start).Seconds()
}

// percentile takes a sorted slice.
func percentile(sorted []float64, fraction float64) float64 {
	return sorted[min(len(sorted)-1, int(fraction*float64(len(sorted))))]
}

func main() {
	var f fleet.Fleet
	address := flag.String("address", "", "host:port of the provider")
	flag.IntVar(&f.Groups, "groups", 1000, "number of node groups")
	flag.IntVar(&f.Nodes, "nodes", 5000, "number of nodes, spread over the groups, all busy")
	unmanaged := flag.Int("unmanaged", 0, "number of nodes that are in no group")
	options := flag.Int("options", 4, "GetOptions calls for each node: 4 from release 1.35, 2 before")
	loops := flag.Int("loops", 1, "number of measured loops, after one that warms up")
	flag.Parse()

	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	p := &player{fleet: f, options: *options, client: pb.NewCloudProviderClient(connection), seconds: map[string][]float64{}}
	for n := range f.Nodes {
		p.nodes = append(p.nodes, newNode(f.NodeName(n), f.ProviderID(n), f.Group(n%f.Groups)))
	}
	for n := range *unmanaged {
		name := fmt.Sprintf("other-%05d", n)
		p.others = append(p.others, newNode(name, "elsewhere://"+name, ""))
	}
	p.loop()
	clear(p.seconds)

	result := report{Groups: f.Groups, Nodes: f.Nodes, Unmanaged: *unmanaged, RPCs: map[string]rpcReport{}}
	for range *loops {
		result.Loops = append(result.Loops, p.loop())
	}
	sorted := slices.Sorted(slices.Values(result.Loops))
	result.LoopSeconds = sorted[len(sorted)/2]
	for name, seconds := range p.seconds {
		slices.Sort(seconds)
		result.RPCs[name] = rpcReport{len(seconds) / *loops, 1000 * percentile(seconds, 0.5), 1000 * percentile(seconds, 0.99)}
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}
