function mpc = ieee14
% IEEE 14-bus test case in two zones, as a data file of this project.
%
% From the published case (a part of the American Electric Power system in the Midwest, February 1962; IEEE Common Data
% Format, R. D. Christie, University of Washington, 1993, free of copyright): bus numbers and types, demand, the shunt at
% bus 9, branch r, x, b and taps, generator buses, set points and reactive limits, and the start voltages, which are the
% published solution. Its power flow has 232.393 MW and -16.549 Mvar at the slack bus, losses of 13.393 MW and a lowest
% angle of -16.034 degrees at bus 14.
%
% Ours, not published: zones, base voltages, voltage limits, ratings, active power limits, ramps, costs and fuels.
%   Zone 1 is the 69 kV part (buses 1 to 5) with the cheap units, zone 2 the rest (buses 6 to 14) with dear ones.
%   The power flow above keeps every rating. With an eighth more demand everywhere, economic dispatch from zone 1 would
%   overload branch 10 (5-6, 47 MVA), so that units of zone 2 must run and the prices of the zones part.
mpc.version = '2';
mpc.baseMVA = 100;

%	bus_i	type	Pd	Qd	Gs	Bs	area	Vm	Va	baseKV	zone	Vmax	Vmin
mpc.bus = [
	1	3	0	0	0	0	1	1.060	0	69	1	1.10	0.94;
	2	2	21.7	12.7	0	0	1	1.045	-4.98	69	1	1.10	0.94;
	3	2	94.2	19	0	0	1	1.010	-12.72	69	1	1.10	0.94;
	4	1	47.8	-3.9	0	0	1	1.019	-10.33	69	1	1.10	0.94;
	5	1	7.6	1.6	0	0	1	1.020	-8.78	69	1	1.10	0.94;
	6	2	11.2	7.5	0	0	2	1.070	-14.22	13.8	1	1.10	0.94;
	7	1	0	0	0	0	2	1.062	-13.37	13.8	1	1.10	0.94;
	8	2	0	0	0	0	2	1.090	-13.36	18	1	1.10	0.94;
	9	1	29.5	16.6	0	19	2	1.056	-14.94	13.8	1	1.10	0.94;
	10	1	9	5.8	0	0	2	1.051	-15.10	13.8	1	1.10	0.94;
	11	1	3.5	1.8	0	0	2	1.057	-14.79	13.8	1	1.10	0.94;
	12	1	6.1	1.6	0	0	2	1.055	-15.07	13.8	1	1.10	0.94;
	13	1	13.5	5.8	0	0	2	1.050	-15.16	13.8	1	1.10	0.94;
	14	1	14.9	5	0	0	2	1.036	-16.04	13.8	1	1.10	0.94;
];

mpc.bus_name = {
	'Bus 1 HV';
	'Bus 2 HV';
	'Bus 3 HV';
	'Bus 4 HV';
	'Bus 5 HV';
	'Bus 6 LV';
	'Bus 7 ZV';
	'Bus 8 TV';
	'Bus 9 LV';
	'Bus 10 LV';
	'Bus 11 LV';
	'Bus 12 LV';
	'Bus 13 LV';
	'Bus 14 LV';
};

%	bus	Pg	Qg	Qmax	Qmin	Vg	mBase	status	Pmax	Pmin	Pc1	Pc2	Qc1min	Qc1max	Qc2min	Qc2max	ramp_agc	ramp_10	ramp_30	ramp_q	apf
mpc.gen = [
	1	232.4	-16.9	10	0	1.060	100	1	330	60	0	0	0	0	0	0	4	40	120	0	0;
	2	40	42.4	50	-40	1.045	100	1	140	20	0	0	0	0	0	0	5	50	140	0	0;
	3	0	23.4	40	0	1.010	100	1	100	0	0	0	0	0	0	0	8	80	100	0	0;
	6	0	12.2	24	-6	1.070	100	1	60	0	0	0	0	0	0	0	6	60	60	0	0;
	8	0	17.4	24	-6	1.090	100	1	50	0	0	0	0	0	0	0	6	50	50	0	0;
];

mpc.genfuel = {
	'coal';
	'ng';
	'ng';
	'oil';
	'ng';
};

%	model	startup	shutdown	n	c2	c1	c0
mpc.gencost = [
	2	9000	0	3	0.02	18	400;
	2	3500	0	3	0.04	25	250;
	2	800	0	3	0.03	45	120;
	2	400	0	3	0.05	85	60;
	2	500	0	3	0.04	60	80;
];

%	fbus	tbus	r	x	b	rateA	rateB	rateC	ratio	angle	status	angmin	angmax
mpc.branch = [
	1	2	0.01938	0.05917	0.0528	205	225	255	0	0	1	-360	360;
	1	5	0.05403	0.22304	0.0492	105	115	130	0	0	1	-360	360;
	2	3	0.04699	0.19797	0.0438	105	115	130	0	0	1	-360	360;
	2	4	0.05811	0.17632	0.0340	85	95	105	0	0	1	-360	360;
	2	5	0.05695	0.17388	0.0346	60	70	80	0	0	1	-360	360;
	3	4	0.06701	0.17103	0.0128	50	55	65	0	0	1	-360	360;
	4	5	0.01335	0.04211	0	90	100	115	0	0	1	-360	360;
	4	7	0	0.20912	0	45	50	56	0.978	0	1	-360	360;
	4	9	0	0.55618	0	28	31	35	0.969	0	1	-360	360;
	5	6	0	0.25202	0	47	52	58	0.932	0	1	-360	360;
	6	11	0.09498	0.19890	0	18	20	23	0	0	1	-360	360;
	6	12	0.12291	0.25581	0	18	20	23	0	0	1	-360	360;
	6	13	0.06615	0.13027	0	28	31	35	0	0	1	-360	360;
	7	8	0	0.17615	0	60	66	75	0	0	1	-360	360;
	7	9	0	0.11001	0	55	60	70	0	0	1	-360	360;
	9	10	0.03181	0.08450	0	18	20	23	0	0	1	-360	360;
	9	14	0.12711	0.27038	0	20	22	25	0	0	1	-360	360;
	10	11	0.08205	0.19207	0	15	17	19	0	0	1	-360	360;
	12	13	0.22092	0.19988	0	12	13	15	0	0	1	-360	360;
	13	14	0.17093	0.34802	0	15	17	19	0	0	1	-360	360;
];
