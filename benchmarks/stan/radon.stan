// The radon model of models.py: non-centred county effects.
data {
  int<lower=1> num_houses, num_counties;
  array[num_houses] int<lower=1, upper=num_counties> county;
  vector[num_houses] log_uranium, floor_measure, floor_by_county, log_radon;
}
parameters {
  real county_effect_mean;
  real<lower=0> county_effect_scale, log_radon_scale;
  vector[num_counties] county_effect_standard;
  vector[3] weight;
}
model {
  vector[num_counties] county_effect = county_effect_mean + county_effect_scale * county_effect_standard;
  county_effect_mean ~ normal(0, 1);
  county_effect_scale ~ normal(0, 1);
  county_effect_standard ~ normal(0, 1);
  weight ~ normal(0, 1);
  log_radon_scale ~ normal(0, 1);
  log_radon ~ normal(county_effect[county] + log_uranium * weight[1] + floor_measure * weight[2]
                     + floor_by_county * weight[3], log_radon_scale);
}
